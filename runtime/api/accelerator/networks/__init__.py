"""Networks of the Accelerator API: compiled, in files, loaded, and the arrays that go in and come out."""
