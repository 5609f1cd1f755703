"""What people do to an installation: agents come, are copied and drained, the broker gets another key."""


def new_agent(cluster, host, amount, seconds):
    cluster.add_host(cluster.host(host).name)


def clone(cluster, host, amount, seconds):
    cluster.clone(cluster.host(host))


def drain(cluster, host, amount, seconds):
    name = cluster.host(host).name
    cluster.client.drain(name)
    cluster.later(1.0 + seconds, cluster.start_all, name)


def change_key(cluster, host, amount, seconds):
    cluster.client.change_key(1 + host)
