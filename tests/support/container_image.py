"""An image of a container, made on this machine from one static program; nothing is pulled."""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path

# Needs no shell and no library: "ask" for the state, "spin", "grow" for ever, "stay" until SIGTERM.
SOURCE = r"""
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static void end(int number) { _exit(7); }

static void ask(void) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    const char *question = "GET /state HTTP/1.0\r\n\r\n";
    char answer[65536], name[64] = "";
    struct dirent *entry;
    ssize_t got;
    DIR *links = opendir("/sys/class/net");
    int there = socket(AF_UNIX, SOCK_STREAM, 0);

    gethostname(name, sizeof name);
    printf("%s %s %s ", name, getenv("SPACEVERSE_NODE"), getenv("FROM_IMAGE"));
    printf("pid %d user %d\n", getpid(), getuid());
    while ((entry = readdir(links)))
        if (entry->d_name[0] != '.')
            printf("link %s\n", entry->d_name);
    strcpy(at.sun_path, getenv("SPACEVERSE_STATE"));
    if (connect(there, (struct sockaddr *)&at, sizeof at) || write(there, question, strlen(question)) < 0)
        perror("state");
    while ((got = read(there, answer, sizeof answer)) > 0)
        fwrite(answer, 1, got, stdout);
    if (!fopen("/written", "w"))
        perror("written");
}

int main(int count, char **words) {
    signal(SIGTERM, end);
    if (!strcmp(words[1], "ask"))
        ask();
    else if (!strcmp(words[1], "spin")) {
        for (time_t begin = time(NULL); time(NULL) < begin + 3;) ;
        printf("%f\n", (double)clock() / CLOCKS_PER_SEC);
    } else
        while (1) {
            if (!strcmp(words[1], "grow"))
                memset(malloc(1 << 20), 1, 1 << 20);
            usleep(100);
        }
    return 0;
}
"""


def root_filesystem(folder: Path) -> Path:
    """Make a folder with nothing but the program, as /act."""
    folder.mkdir()
    compile_it = ["gcc", "-static", "-O1", "-x", "c", "-", "-o", str(folder / "act")]
    subprocess.run(compile_it, input=SOURCE, text=True, check=True)
    return folder


def image_layout(folder: Path, root: Path, *configured: str) -> Path:
    """Make an OCI image layout of a root filesystem.

    Args:
        folder: the layout's; created.
        root: the root filesystem.
        configured: options of `umoci config`.
    """
    image = f"{folder}:made"
    for words in (
        ("init", "--layout", str(folder)),
        ("new", "--image", image),
        ("insert", "--image", image, str(root), "/"),
        ("config", "--image", image, *configured),
        ("gc", "--layout", str(folder)),
    ):
        subprocess.run(["umoci", *words], check=True, capture_output=True)
    return folder


def archive(layout: Path, file: Path) -> Path:
    """Put a layout into a tar file, as `docker save` and `podman save --format oci-archive` do."""
    with tarfile.open(file, "w") as made:
        for path in sorted(layout.rglob("*")):
            made.add(path, path.relative_to(layout), recursive=False)
    return file
