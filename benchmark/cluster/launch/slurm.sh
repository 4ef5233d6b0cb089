#!/bin/bash
# A Ray cluster of the nodes of a Slurm job, and a run on it. From the project's folder, on a disk that all nodes share:
#
#   sbatch --nodes=4 benchmark/cluster/launch/slurm.sh experiment=wesad_ppg2ecg device=cuda data.root=/shared/WESAD
#
# Its words are those of python -m benchmark; resume=true goes on with a run that its time limit ended. PYTHON names
# another interpreter than .venv/bin/python.
#SBATCH --job-name=bridgebench
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --time=12:00:00
#SBATCH --signal=B:TERM@120
# With GPUs, as your site asks for them: #SBATCH --gpus-per-node=4

set -euo pipefail

python=${PYTHON:-.venv/bin/python}
ray=$(dirname "$python")/ray
patience=300 # seconds for all nodes to join

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
on() { # <node> <command>: one process there, with all of its cores and GPUs; in place of the subshell that calls it
    exec srun --overlap --nodes=1 --ntasks=1 --cpus-per-task="$SLURM_CPUS_PER_TASK" --nodelist="$1" "${@:2}"
}

ip=$(on "${nodes[0]}" "$python" -c 'import ray; print(ray.util.get_node_ip_address())')
address=$ip:$((20000 + SLURM_JOB_ID % 10000)) # jobs that share a node have ports, folders and tokens of their own
export RAY_TMPDIR=/tmp/ray-$SLURM_JOB_ID RAY_AUTH_MODE=token RAY_AUTH_TOKEN
RAY_AUTH_TOKEN=$("$python" -c 'import secrets; print(secrets.token_hex(32))')

# Nothing is to be moved away from nodes that end together, and seconds are results.
export RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=0 RAY_worker_niceness=0

trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT
on "${nodes[0]}" "$ray" start --head --node-ip-address="$ip" --port="${address##*:}" \
    --num-cpus="$SLURM_CPUS_PER_TASK" --include-dashboard=false --disable-usage-stats --block &
for node in "${nodes[@]:1}"; do
    on "$node" "$ray" start --address="$address" --num-cpus="$SLURM_CPUS_PER_TASK" --disable-usage-stats --block &
done

joined() {
    "$python" -c 'import sys; from benchmark.cluster.answers import ask; print(len(ask(sys.argv[1])["nodes"]))' \
        "$address" 2>/dev/null || echo 0
}
until [ "$(joined)" -ge "${#nodes[@]}" ]; do
    if [ "$SECONDS" -gt "$patience" ]; then
        echo "error: $(joined) of ${#nodes[@]} nodes joined the cluster at $address within $patience s" >&2
        exit 1
    fi
    sleep 2
done

where=(cluster=existing "cluster.address=$address")
"$python" -m benchmark "${where[@]}" "$@" --cluster-check
"$python" -m benchmark "${where[@]}" "$@" &
run=$!
trap 'kill -TERM "$run"' TERM # the run keeps what is finished
wait "$run" || { code=$?; wait "$run" || code=$?; exit "$code"; }
