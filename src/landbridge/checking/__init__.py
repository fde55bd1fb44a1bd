"""The check of native code against the meaning of the model, while it is compiled."""
