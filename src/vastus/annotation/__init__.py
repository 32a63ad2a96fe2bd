"""The annotation server: labels corrected in 3D Slicer or in the browser, every version kept, the network retrained."""
