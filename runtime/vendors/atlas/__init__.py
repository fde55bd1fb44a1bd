"""Atlas: Ascend offline models (.om) and the devices that run them."""
