"""Programs that `torch.export` made, and offline models as operators in them. PyTorch is an extra: it is imported where it is needed."""
