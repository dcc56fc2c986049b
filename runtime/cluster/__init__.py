"""Work on several processes, of this machine or of a cluster: what fails is tried again, what is done is noted."""
