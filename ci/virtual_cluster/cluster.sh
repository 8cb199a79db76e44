#!/usr/bin/env bash
# A real Slurm on one machine: 24 nodes with four pretended V100 each (partition v100) and 24 with K80 (partition k80),
# munge, controller, accounting with a database, and one slurmd per node.
#
#   ci/virtual_cluster/cluster.sh start | status | stop | run COMMAND...
#
# `run` starts it, runs the command on it (without input) and stops it, whatever happens; a Ctrl-C ends all of it. Everything lives in
# build/virtual_cluster ($VIRTUAL_CLUSTER); other commands reach it with SLURM_CONF=build/virtual_cluster/etc/slurm.conf.
set -euo pipefail
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
dir=$(realpath -m "${VIRTUAL_CLUSTER:-$here/../../build/virtual_cluster}")
nodes=${VIRTUAL_NODES:-24}          # of each partition
port=${VIRTUAL_PORT:-17000}         # the first of about 1,100
hardware=${VIRTUAL_HARDWARE:-pretended}     # own: nodes of one core each, without devices, prolog and preloaded Python
partitions=(v100 k80)
[ "$hardware" = pretended ] || partitions=(batch cpu.test)
export SLURM_CONF=$dir/etc/slurm.conf
python=$here/../../.venv/bin/python
last=$(printf %02d "$nodes") host=$(hostname -s) user=$(id -un)

say() { printf 'virtual cluster: %s\n' "$*" >&2; }
die() { printf 'error: virtual cluster: %s\n' "$*" >&2; exit 2; }

install_packages() {
    local missing=() package
    for package in $(sed 's/#.*//' "$here/apt-packages.txt" | xargs); do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    [ "$(id -u)" = 0 ] || die "packages are missing and only root can install them; run: apt-get install --no-install-recommends ${missing[*]}"
    say "installing ${missing[*]}"
    mkdir -p "$dir/log"
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"; } \
        >"$dir/log/apt.log" 2>&1 || die "could not install ${missing[*]}; read $dir/log/apt.log"
}

write_configuration() {
    local jw="Sockets=2 CoresPerSocket=20 ThreadsPerCore=1 RealMemory=190000 Gres=gpu:v100:4"
    local jr="Sockets=2 CoresPerSocket=12 ThreadsPerCore=1 RealMemory=128000 Gres=gpu:k80:4"
    local prolog="TaskProlog=$here/task_prolog.sh"
    if [ "$hardware" = own ]; then
        jw="Sockets=1 CoresPerSocket=1 ThreadsPerCore=1 RealMemory=$(($(awk '/MemTotal/ { print $2 }' /proc/meminfo) / 1024 / 2 / nodes))"
        jr=$jw prolog=''
    fi
    mkdir -p "$dir"/{etc,state,spool,log,run,munge,tmp}
    chmod 755 "$dir" "$dir/munge"
    [ -e "$dir/munge/key" ] || { head -c 1024 /dev/urandom >"$dir/munge/key"; chmod 600 "$dir/munge/key"; }
    cat >"$dir/etc/slurm.conf" <<X
ClusterName=virtual
SlurmctldHost=$host(127.0.0.1)
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
$prolog
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
ReturnToService=2
SlurmctldPort=$((port + 1))
SlurmctldPidFile=$dir/run/slurmctld.pid
SlurmdPidFile=$dir/run/slurmd.%n.pid
SlurmdSpoolDir=$dir/spool/%n
StateSaveLocation=$dir/state
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd.%n.log
# the pretended nodes have more cores and memory than this machine
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_min_interval=100000,batch_sched_delay=0,bf_interval=2,sched_interval=5
EnforcePartLimits=ALL
InactiveLimit=0
KillWait=5
MinJobAge=300
SlurmctldTimeout=600
SlurmdTimeout=${VIRTUAL_SLURMD_TIMEOUT:-600}
MessageTimeout=60
TreeWidth=64
TmpFS=$dir/tmp/%n
GresTypes=gpu
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$((port + 2))
AccountingStoragePass=$dir/munge/socket
AccountingStorageTRES=gres/gpu
JobCompType=jobcomp/none
NodeName=jw[01-$last] NodeAddr=127.0.0.1 Port=[$((port + 101))-$((port + 100 + nodes))] $jw State=UNKNOWN
NodeName=jr[01-$last] NodeAddr=127.0.0.1 Port=[$((port + 601))-$((port + 600 + nodes))] $jr State=UNKNOWN
PartitionName=${partitions[0]} Nodes=jw[01-$last] Default=YES MaxTime=1-0 State=UP
PartitionName=${partitions[1]} Nodes=jr[01-$last] MaxTime=1-0 State=UP
X
    echo "AutoDetect=off" >"$dir/etc/gres.conf"
    [ "$hardware" = own ] || cat >>"$dir/etc/gres.conf" <<X
NodeName=jw[01-$last] Name=gpu Type=v100 File=/dev/null,/dev/zero,/dev/full,/dev/urandom
NodeName=jr[01-$last] Name=gpu Type=k80 File=/dev/null,/dev/zero,/dev/full,/dev/urandom
X
    echo "CgroupPlugin=cgroup/v1" >"$dir/etc/cgroup.conf"
    printf 'PMIxCollFence=ring\nPMIxTimeout=300\n' >"$dir/etc/mpi.conf"     # the default fence hangs when nodes share a host
    cat >"$dir/etc/slurmdbd.conf" <<X
AuthType=auth/munge
AuthInfo=$dir/munge/socket
DbdAddr=127.0.0.1
DbdHost=$host
DbdPort=$((port + 2))
SlurmUser=$user
PidFile=$dir/run/slurmdbd.pid
LogFile=$dir/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$((port + 3))
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
X
    chmod 600 "$dir/etc/slurmdbd.conf"
}

# until_works SECONDS WHAT COMMAND...: waits until the command succeeds.
until_works() {
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $deadline ] || die "$what did not start; read the files in $dir/log"
        sleep 0.2
    done
}

start_database() {
    local socket=$dir/run/mysql.sock account
    [ -d "$dir/mysql" ] || mariadb-install-db --no-defaults --user="$user" --datadir="$dir/mysql" --skip-test-db \
        --auth-root-authentication-method=normal >"$dir/log/mariadb-install.log" 2>&1
    setsid mariadbd --no-defaults --user="$user" --datadir="$dir/mysql" --socket="$socket" --pid-file="$dir/run/mariadbd.pid" \
        --bind-address=127.0.0.1 --port=$((port + 3)) --innodb-buffer-pool-size=64M --innodb-lock-wait-timeout=900 \
        --innodb-flush-log-at-trx-commit=2 >"$dir/log/mariadbd.log" 2>&1 </dev/null &
    until_works 60 "the database" mariadb-admin --no-defaults --socket="$socket" -uroot ping
    for account in "slurm@'127.0.0.1'" slurm@localhost; do
        mariadb --no-defaults --socket="$socket" -uroot -e "create database if not exists slurm_acct_db;
            create user if not exists $account identified by 'slurm'; grant all on slurm_acct_db.* to $account;"
    done
}

# Ranks come from a Python that has TensorFlow loaded (preloaded.py); only root may give a rank its node's host name.
preloads() { [ "$(id -u)" = 0 ] && [ -x "$python" ] && [ "$hardware" = pretended ]; }

start_python() {
    LD_PRELOAD=$dir/run/sched_yield.so OPENBLAS_NUM_THREADS=1 setsid nice -n 5 "$python" "$here/preloaded.py" \
        serve "$dir/run/python.sock" >"$dir/log/python.log" 2>&1 </dev/null &
}

start_node() {
    mkdir -p "$dir/spool/$1" "$dir/tmp/$1"
    chmod 1777 "$dir/tmp/$1"
    # a host name of its own for each node: OpenMPI would otherwise take all ranks for neighbours in shared memory
    if [ "$(id -u)" = 0 ]; then
        unshare --uts sh -c "hostname $1; exec slurmd -N $1"
    else
        unshare --user --map-root-user --uts sh -c "hostname $1; exec unshare --user --map-user=$(id -u) --map-group=$(id -g) slurmd -N $1"
    fi
}

all_idle() { [ "$(sinfo -hN -o %T | sort -u)" = idle ] && [ "$(sinfo -hN | wc -l)" = $((2 * nodes)) ]; }

start() {
    install_packages
    stop    # what an earlier run may have left behind
    write_configuration
    export PART_OF_VIRTUAL_CLUSTER=$dir    # marks every process that is started from here on
    munged --force --key-file="$dir/munge/key" --socket="$dir/munge/socket" --pid-file="$dir/run/munged.pid" \
        --log-file="$dir/log/munged.log" --seed-file="$dir/munge/seed" 2>>"$dir/log/munged.log"
    cc -O2 -shared -fPIC -o "$dir/run/sched_yield.so" "$here/sched_yield.c"
    ! preloads || start_python
    start_database
    slurmdbd
    until_works 60 slurmdbd sacctmgr -nP show cluster
    sacctmgr -nP show cluster | grep -q '^virtual|' || sacctmgr -i add cluster virtual >/dev/null
    slurmctld -i
    for node in $(scontrol show hostnames "jw[01-$last],jr[01-$last]"); do start_node "$node"; done
    until_works 120 "every node" all_idle
    ! preloads || until_works 300 "the Python with TensorFlow" test -S "$dir/run/python.sock"
    unset PART_OF_VIRTUAL_CLUSTER
    say "$nodes + $nodes nodes are idle after $SECONDS s; export SLURM_CONF=$SLURM_CONF"
}

status() {
    [ -e "$dir/run/slurmctld.pid" ] || { say "not running"; return 1; }
    sinfo && squeue
}

# Ids of all processes of the cluster, also of those that have not written a pid file yet.
processes() {
    grep -lzsxF "PART_OF_VIRTUAL_CLUSTER=$dir" /proc/[0-9]*/environ
    find /proc/[0-9]*/fd -lname "$dir/log/slurmd.*.log" 2>/dev/null    # slurmstepd writes its title over its environment
}

stop_processes() {
    local turn pids signal=TERM
    unset PART_OF_VIRTUAL_CLUSTER
    for turn in $(seq 100); do
        mapfile -t pids < <(processes | cut -d/ -f3 | sort -u)
        [ ${#pids[@]} -gt 0 ] || return 0
        [ "$turn" -lt 50 ] || signal=KILL
        kill -s $signal "${pids[@]}" 2>/dev/null || true
        sleep 0.2
    done
}

stop() {
    local partition
    if [ -e "$dir/run/slurmctld.pid" ]; then
        for partition in "${partitions[@]}"; do timeout 10 scancel -p "$partition" 2>/dev/null || true; done
        for _ in $(seq 20); do [ -n "$(timeout 5 squeue -h 2>/dev/null)" ] || break; sleep 0.5; done
    fi
    stop_processes
    rm -rf "$dir"/{state,spool,tmp,mysql,run}
}

# Ends the command of `run` and what it started: srun, for one, goes on at a first Ctrl-C, and ends at SIGTERM.
stop_command() {
    local signal
    for signal in INT TERM; do
        kill -s $signal -- "-$1" 2>/dev/null || return 0
        for _ in $(seq 25); do kill -s 0 -- "-$1" 2>/dev/null || return 0; sleep 0.2; done
    done
    kill -s KILL -- "-$1" 2>/dev/null || true
}

# on_end CLEANING...: runs it when this script ends, at a signal too; bash by itself forgets a Ctrl-C that came while a program ran
# which did not die of it.
on_end() {
    # shellcheck disable=SC2064  # what is to be run is known now
    trap "trap '' INT TERM HUP; $*" EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

case ${1:-} in
    start|status|stop) [ $# = 1 ] || die "unknown word ${2@Q} after $1; it takes none" ;;
esac
case ${1:-} in
    -h|--help) sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" ;;
    start)
        on_end stop    # nothing half-started stays behind
        start
        trap - EXIT
        ;;
    status) status ;;
    stop) stop; say "stopped" ;;
    run)
        shift
        [ $# -gt 0 ] || die "run needs a command, e.g. run python -m reframe_tests --site virtual"
        on_end stop
        start
        set -m    # a process group of its own
        "$@" </dev/null &
        set +m
        on_end "stop_command $!; stop"
        wait $!
        ;;
    *) die "expected start, status, stop or run COMMAND, found '${1:-nothing}'" ;;
esac
