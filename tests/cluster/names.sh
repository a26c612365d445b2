# shellcheck shell=bash
# The names and addresses of a test cluster, by its number; sourced by the scripts here. Every process, network namespace,
# cgroup and mount of a cluster is found by these names and by nothing else: whatever is called otherwise is not ours.
#
# On the machine there is one network interface for each cluster, `postern-N`, with the address .2: the API server answers
# it, and what listens on it is, to the pods, a server outside of the cluster. Everything else is in three namespaces:
# postern-N-net (the network between the nodes, and the control plane), postern-N-a and postern-N-b (the two nodes).

readonly NUMBERS="0 1 2 3 4 5 6 7"
readonly NODES="a b"

cluster_names() { # cluster_names N
    number=$1
    name=postern-$number
    state=/var/tmp/$name
    memory=/dev/shm/$name
    network=10.$((160 + number)).0
    pods=10.$((128 + number))
    services=10.$((144 + number)).0
    control=$network.1
    outside=$network.2
    dns=$services.10
}

# Each node's last octet on the network between the nodes, and the third of its pods.
node_octet() { [ "$1" = a ] && echo 11 || echo 12; }
node_pods() { [ "$1" = a ] && echo "$pods.1" || echo "$pods.2"; }

# When a process began, in ticks since the machine's start: a process id alone may be another's by now.
begun() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }

# Runs a command in a namespace's network; everything else stays as it is.
inside() { # inside NAMESPACE COMMAND...
    local namespace=$1
    shift
    nsenter --net="/run/netns/$name-$namespace" -- "$@"
}
