"""Whether a node is fit to be measured: facts, gathered on all ranks, and their judgement."""
