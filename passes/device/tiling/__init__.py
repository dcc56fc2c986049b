"""Which tile of an op costs least, by the cost function of instructions."""
