"""Kernel provisioners for jupyter_client, and the client of the process that forks kernels."""
