"""From a recipe to a record: build, preview, train, export and measure; here, in watched processes, or on Ray."""
