"""The one training loop, teachers and their stored answers, losses, and what pruning and sharing ask of a model."""
