"""What people do to an installation: agents come, are copied, drained and revoked, the broker gets another key."""


def new_agent(cluster, host, amount, seconds):
    cluster.add_host(cluster.host(host).name)


def clone(cluster, host, amount, seconds):
    cluster.clone(cluster.host(host))


def drain(cluster, host, amount, seconds):
    name = cluster.host(host).name
    cluster.client.drain(name)
    cluster.later(1.0 + seconds, cluster.start_all, name)


def revoke(cluster, host, amount, seconds):
    """Its key was stolen, say; the machine of that name joins with another one."""
    machine = cluster.host(host)
    cluster.client.revoke(machine, lambda: cluster.add_host(machine.name))


def change_key(cluster, host, amount, seconds):
    cluster.client.change_key(1 + host)
