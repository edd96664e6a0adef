"""Networks: encoders, heads, momentum contrast. Modules of torch that know their constructor arguments and no more."""
