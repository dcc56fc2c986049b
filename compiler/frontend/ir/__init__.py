"""Reading and writing networks as Inference Engine IR: an .xml file and the .bin file of its weights."""
