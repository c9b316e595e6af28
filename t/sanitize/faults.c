
/*
 * Makes a fault, in a child that is another user where it can be, as nginx's
 * workers are: what the sanitizers must report.
 */


#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/wait.h>


static volatile int  shift = 40;
static char         *volatile p;


static int
make_fault(const char *name)
{
    p = malloc(8);

    if (strcmp(name, "overflow") == 0) {
        return p[shift - 32];
    }

    if (strcmp(name, "freed") == 0) {
        free(p);
        return p[0];
    }

    if (strcmp(name, "leak") == 0) {
        p = NULL;
        return 0;
    }

    if (strcmp(name, "shift") == 0) {
        return 1 << shift;
    }

    free(p);

    return 0;
}


int
main(int argc, char **argv)
{
    pid_t  pid;

    pid = fork();

    if (pid == 0) {
        if (geteuid() == 0 && setgid(65534) == 0 && setuid(65534) == 0) {
            make_fault("none");
        }

        exit(make_fault(argc > 1 ? argv[1] : "none") ? 1 : 0);
    }

    waitpid(pid, NULL, 0);

    return 0;
}
