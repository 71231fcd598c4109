"""The view `fleet`: several replicas behind each kind of balancer, through restarts, a slow one and a new one."""
