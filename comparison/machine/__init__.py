"""What the kernel says of processes, sockets and the machine."""
