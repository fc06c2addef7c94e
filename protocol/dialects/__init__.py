"""Wire protocols: how commands are decoded and publications encoded. One file each."""
