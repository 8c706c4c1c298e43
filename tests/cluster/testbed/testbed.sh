#!/usr/bin/env bash
# Several "hosts" on one Linux machine: what does a program do on a Ray cluster of more than one?
#
# A host is a set of namespaces. It has its own network (a veth into a switch, $NET.N, no way out),
# process ids (a process of another host is not "on this machine"), /tmp, HOME, /dev/shm, host name
# and /etc/hosts. Hosts share SHARED (/mnt/shared in each of them) and BINDS (code, virtual
# environments; the same path everywhere). They cannot have another kernel, boot id or clock.
#
# Needs root, iproute2 and util-linux. Touches nothing outside of its namespaces and BED. Ends
# nothing by name. The tests use it through bed.py; by hand it goes like this:
#
#   export BED=/var/tmp/bed VENV=$PWD/.venv BINDS="$PWD"
#   testbed.sh up 3                           switch and hosts h1 h2 h3
#   testbed.sh bg h1 ray ray start --head --node-ip-address=10.77.0.1 --port=6379 --block
#   testbed.sh bg h2 ray ray start --address=10.77.0.1:6379 --node-ip-address=10.77.0.2 --block
#   testbed.sh sh h1 curvetune grid digits --address 10.77.0.1:6379 --storage /mnt/shared/results
#   testbed.sh crash h2; testbed.sh boot h2   power off and on: /tmp, /dev/shm empty, same HOME
#   testbed.sh cut h2; testbed.sh mend h2     pull the network cable, put it back
#   testbed.sh share h2 ro|rw|off|on          the shared folder: read-only, or not there
#   testbed.sh down                           end all hosts, remove the namespaces; BED stays
#
# Variables: BED (folder of this bed, not below /tmp), VENV (its bin/ comes first in PATH),
# SHARED (folder), BINDS ("PATH PATH …"; only those below /tmp and /home need to be named),
# EXTRA_ENV ("A=1 B=2", by `sh` and `bg`), P (prefix of the namespaces), NET.
set -euo pipefail
BED=${BED:?a folder for this test bed}
VENV=${VENV:?a virtual environment with Ray}
SHARED=${SHARED:-$BED/shared}
BINDS=${BINDS:-$VENV}
P=${P:-ctbed} NET=${NET:-10.77.0}
EXTRA_ENV=${EXTRA_ENV:-}
mkdir -p "$BED"/{log,run,hosts} "$SHARED"

init_pid() { cat "$BED/run/$1.init"; }
number() { echo "${1#h}"; }
in_mounts() { local h=$1; shift; nsenter -t "$(init_pid "$h")" -m -p -- "$@"; }

# The first process of a host: makes its mounts, then reaps what is orphaned.
_init() {
  local h=$1 root=$BED/hosts/$1 bind n
  mount --make-rprivate /
  mkdir -p "$root"/{tmp,home/ct,own}
  chmod 1777 "$root/tmp"
  for bind in $BINDS; do
    case $bind in /tmp/* | /home/*) mkdir -p "$root$bind"; mount --rbind "$bind" "$root$bind" ;; esac
  done
  mount --rbind "$root/home" /home
  mount -t tmpfs none /mnt
  mkdir /mnt/shared
  mount --bind "$root/own" /mnt/shared # what is there while the share is off
  mount --bind "$SHARED" /mnt/shared
  mount -t tmpfs -o size=1500m none /dev/shm
  printf '127.0.0.1 localhost\n' >"$root/hosts"
  for n in 1 2 3 4 5 6 7 8 9; do echo "$NET.$n h$n" >>"$root/hosts"; done
  mount --bind "$root/hosts" /etc/hosts
  mount --rbind "$root/tmp" /tmp
  mount -t proc proc /proc
  echo "$h" >/proc/sys/kernel/hostname
  cd /
  # 3 is a pipe to `boot`, which waits for its end: that is when this host is ready
  exec python3 -c '
import os, signal
os.write(3, b"ready"); os.close(3)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
while True:
    signal.sigwait([signal.SIGCHLD])
    try:
        while os.waitpid(-1, os.WNOHANG)[0]: pass
    except ChildProcessError: pass' </dev/null >/dev/null 2>&1
}

plug() { # HOST: its network, once
  local h=$1 n
  n=$(number "$h")
  [ -e "/run/netns/$P-$h" ] && return
  ip netns add "$P-$h"
  ip link add name "v$h" netns "$P-sw" type veth peer name eth0 netns "$P-$h"
  ip -n "$P-sw" link set "v$h" master br0 up
  ip -n "$P-$h" addr add "$NET.$n/24" dev eth0
  ip -n "$P-$h" link set eth0 up
  ip -n "$P-$h" link set lo up
}

boot() { # HOST
  local h=$1 outer said
  plug "$h"
  mkdir -p "$BED/hosts/$h"
  rm -rf "${BED:?}/hosts/$h/tmp" "$BED/run/$h.ready"
  mkfifo "$BED/run/$h.ready"
  ip netns exec "$P-$h" unshare --mount --pid --ipc --uts --fork --kill-child --propagation private \
    bash "$0" _init "$h" </dev/null >"$BED/log/$h-init.log" 2>&1 3>"$BED/run/$h.ready" &
  outer=$!
  read -r -t 20 -n 5 said <"$BED/run/$h.ready" || true
  [ "${said:-}" = ready ] || { echo "$h does not start: $(cat "$BED/log/$h-init.log")" >&2; exit 1; }
  tr -d ' ' <"/proc/$outer/task/$outer/children" >"$BED/run/$h.init"
}

up() { # COUNT
  local n
  ip netns add "$P-sw"
  ip -n "$P-sw" link add br0 type bridge
  ip -n "$P-sw" link set br0 up
  for n in $(seq "$1"); do boot "h$n"; done
}

enter() { # HOST CMD...
  local h=$1
  shift
  # shellcheck disable=SC2086
  exec nsenter -t "$(init_pid "$h")" -m -p -n -i -u -- env -i HOME=/home/ct \
    PATH="$VENV/bin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" LANG=C.UTF-8 TERM=dumb \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 RAY_USAGE_STATS_ENABLED=0 \
    MLFLOW_DISABLE_TELEMETRY=true OMP_NUM_THREADS=1 $EXTRA_ENV \
    bash -c 'cd; exec "$@"' _ "$@"
}

bg() { # HOST NAME CMD...
  local h=$1 name=$2
  shift 2
  (enter "$h" "$@") </dev/null >"$BED/log/$h-$name.log" 2>&1 &
  echo "$h $name: $BED/log/$h-$name.log"
}

crash() { # HOST: every process of its namespace dies with the first one
  local h=$1
  [ -s "$BED/run/$h.init" ] || return 0
  kill -9 "$(init_pid "$h")" 2>/dev/null || true
  tail --pid="$(init_pid "$h")" -s 0.02 -f /dev/null
  rm -f "$BED/run/$h.init"
}

share() { # HOST ro|rw|off|on
  case $2 in
  ro | rw) in_mounts "$1" mount -o "remount,bind,$2" /mnt/shared ;;
  off) in_mounts "$1" umount -l /mnt/shared ;;
  on) in_mounts "$1" mount --bind "$SHARED" /mnt/shared ;;
  esac
}

# Whoever is in one of our networks is a process of ours, also if BED has forgotten it.
down() {
  local name pids
  for name in $(ip netns list | awk '{print $1}' | grep "^$P-" || true); do
    while pids=$(ip netns pids "$name") && [ -n "$pids" ]; do
      # shellcheck disable=SC2086
      kill -9 $pids 2>/dev/null || true
      sleep 0.02
    done
    ip netns del "$name"
  done
  rm -f "$BED"/run/*.init
}

case ${1:-} in
_init) _init "$2" ;;
up) up "$2" ;;
boot) boot "$2" ;;
sh) shift; enter "$@" ;;
bg) shift; bg "$@" ;;
crash) crash "$2" ;;
cut) ip -n "$P-sw" link set "v$2" down ;;
mend) ip -n "$P-sw" link set "v$2" up ;;
share) share "$2" "$3" ;;
down) down ;;
*) sed -n '2,28s/^# \{0,1\}//p' "$0" ;;
esac
