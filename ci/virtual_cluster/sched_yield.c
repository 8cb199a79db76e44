/* sched_yield() that sleeps, for the ranks of the virtual cluster (LD_PRELOAD).
 *
 * Ranks that wait in MPI poll, and with mpi_yield_when_idle they call sched_yield() in between. Of 24 ranks on two cores, 23 then take
 * turns at polling while the one that they wait for computes. A nap leaves it the cores.
 */
#include <time.h>

int sched_yield(void)
{
    const struct timespec nap = {.tv_nsec = 1000000};
    nanosleep(&nap, NULL);
    return 0;
}
