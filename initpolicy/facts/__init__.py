"""What the model is: layouts and fans, activations and gains, read from the modules without writing to them."""
