"""Stand-ins for vendors' libraries, with the vendors' own C interfaces, for machines that have no accelerator."""
