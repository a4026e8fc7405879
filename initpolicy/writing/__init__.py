"""What `apply` is made of: targets, what refuses them, values made beforehand, pieces of memory, what fills them."""
