/*
 * Lets User-Mode Linux 6.1 run on processors with AMX; preloaded into linux.uml by uml.py.
 *
 * The kernel accepts the extended registers of a traced process (PTRACE_SETREGSET with NT_X86_XSTATE) only
 * as a whole. User-Mode Linux 6.1 passes 2,696 bytes, which is all up to PKRU; with AMX there are about
 * 11,000, the call fails, and the guest panics in its first process. This wrapper passes the missing bytes
 * as zeros and marks their components as unused. No guest program can use them: the guest's kernel does not
 * know the system call that permits AMX.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>

#define REGISTERS ((void *)0x202) /* NT_X86_XSTATE, elf.h */
#define LARGEST_STATE (64 * 1024)
#define COMPONENTS_AT 512              /* XSTATE_BV, Intel SDM vol. 1, 13.4.2 */
#define COMPONENTS_UP_TO_PKRU 0x3ffULL /* bits 0 to 9 */

typedef long (*ptrace_function)(int, pid_t, void *, void *);

static size_t size_of_state(ptrace_function next, pid_t pid)
{
    static char whole[LARGEST_STATE];
    static size_t size;
    struct iovec all = {whole, sizeof whole};

    if (size == 0 && next(PTRACE_GETREGSET, pid, REGISTERS, &all) == 0)
        size = all.iov_len;
    return size;
}

long ptrace(enum __ptrace_request request, ...)
{
    static ptrace_function next;
    static char whole[LARGEST_STATE]; /* beyond what is copied into it, it stays zero */
    void *address, *data;
    va_list arguments;
    pid_t pid;

    if (next == NULL)
        next = (ptrace_function)dlsym(RTLD_NEXT, "ptrace");
    va_start(arguments, request);
    pid = va_arg(arguments, pid_t);
    address = va_arg(arguments, void *);
    data = va_arg(arguments, void *);
    va_end(arguments);

    if (request == PTRACE_SETREGSET && address == REGISTERS) {
        const struct iovec *part = data;
        struct iovec all = {whole, size_of_state(next, pid)};
        uint64_t components;

        if (part->iov_len > COMPONENTS_AT && part->iov_len < all.iov_len) {
            memcpy(whole, part->iov_base, part->iov_len);
            memcpy(&components, whole + COMPONENTS_AT, sizeof components);
            components &= COMPONENTS_UP_TO_PKRU;
            memcpy(whole + COMPONENTS_AT, &components, sizeof components);
            return next(request, pid, address, &all);
        }
    }
    return next(request, pid, address, data);
}
