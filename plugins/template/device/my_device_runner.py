"""Copied to the other machine: runs the models that come on stdin in turns, and prints the milliseconds of each."""

import base64
import json
import sys
import time

import numpy as np
import onnxruntime

given = json.load(sys.stdin)
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = given["threads"]
sessions = [
    onnxruntime.InferenceSession(base64.b64decode(each), options, providers=["CPUExecutionProvider"])
    for each in given["models"]
]


def milliseconds(session):
    feeds = {each.name: np.ones((1, given["length"]), np.int64) for each in session.get_inputs()}
    start = time.perf_counter()
    session.run(["logits"], feeds)
    return 1000 * (time.perf_counter() - start)


for session in 3 * sessions:
    milliseconds(session)
times = [[] for _ in sessions]
end = time.perf_counter() + given["seconds"]
while not times[0] or time.perf_counter() < end:
    for session, own in zip(sessions, times, strict=True):
        own.append(milliseconds(session))
print(json.dumps(times))
