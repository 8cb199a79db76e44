#!/bin/sh
# Ranks that wait in MPI must not starve the ranks and daemons that they share a few cores with: they sleep (sched_yield.c), and
# come after the daemons. Slurm sets what this prints in the task's environment.
renice -n $(($(nice) + 5)) -p "$SLURM_TASK_PID" >/dev/null 2>&1
echo "export LD_PRELOAD=$(dirname "$SLURM_CONF")/../run/sched_yield.so"
