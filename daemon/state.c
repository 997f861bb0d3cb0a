/* The state folder: found, made, locked, its version checked. */
#include "daemon/state.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define MARK "sorafarm-state "

const char *sora_state_path(const struct sora_state *state, const char *name,
                            char out[SORA_STATE_PATH_SIZE])
{
    snprintf(out, SORA_STATE_PATH_SIZE, "%s/%s", state->directory, name);
    return out;
}

int sora_state_find(const char *option, char *out_path, size_t size, struct sora_fault *fault)
{
    const char *own = getenv("SORAFARM_STATE"), *service = getenv("STATE_DIRECTORY");
    const char *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    int length;
    if (!option && own && own[0])
        option = own;
    if (!option && service && service[0] == '/')
        option = service;
    if (!option && geteuid() == 0)
        option = "/var/lib/sorafarm";
    if (option)
        length = snprintf(out_path, size, "%s", option);
    else if (xdg && xdg[0] == '/')
        length = snprintf(out_path, size, "%s/sorafarm", xdg);
    else if (home && home[0] == '/')
        length = snprintf(out_path, size, "%s/.local/state/sorafarm", home);
    else
        return sora_fault_set(fault, SORA_E_NOT_FOUND,
                              "no place for the state: HOME is not set; name one with --state DIR");
    if (length < 0 || (size_t)length >= size)
        return sora_fault_set(fault, SORA_E_LIMIT,
                              "the path of the state has %d bytes; the limit is %zu", length,
                              size - 1);
    return SORA_OK;
}

static int take_lock(struct sora_state *state, struct sora_fault *fault)
{
    char path[SORA_STATE_PATH_SIZE], pid[16] = "";
    sora_state_path(state, "lock", path);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return sora_file_fault(fault, errno, "lock", path);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int number = errno;
        ssize_t got = pread(fd, pid, sizeof(pid) - 1, 0);
        pid[got > 0 ? got : 0] = '\0';
        close(fd);
        if (number != EWOULDBLOCK)
            return sora_file_fault(fault, number, "lock", path);
        return sora_fault_set(fault, SORA_E_BUSY,
                              "another sorad (process %d) uses %s; stop it or name another --state",
                              atoi(pid), state->directory);
    }
    int length = snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, pid, (size_t)length, 0) != length) {
        int rc = sora_file_fault(fault, errno, "write", path);
        close(fd);
        return rc;
    }
    state->lock = fd;
    return SORA_OK;
}

static int read_version(const char *path, long *out_version, struct sora_fault *fault)
{
    struct sora_bytes text;
    char *end = NULL;
    int rc = sora_file_read(path, 64, &text, fault);
    if (rc)
        return rc;
    const char *content = text.size ? (const char *)text.data : "";
    long version = 0;
    if (strncmp(content, MARK, strlen(MARK)) == 0)
        version = strtol(content + strlen(MARK), &end, 10);
    if (!end || *end != '\n' || version < 1)
        rc = sora_fault_set(fault, SORA_E_FORMAT,
                            "%s is damaged, or of another program; name another --state", path);
    else
        *out_version = version;
    sora_bytes_fini(&text);
    return rc;
}

static int check_version(const struct sora_state *state, struct sora_fault *fault)
{
    char path[SORA_STATE_PATH_SIZE], text[64];
    long version = 0;
    sora_state_path(state, "version", path);
    if (access(path, F_OK) != 0) {
        int length = snprintf(text, sizeof(text), MARK "%d\n", SORA_STATE_VERSION);
        return sora_file_write(path, text, (size_t)length, fault);
    }
    int rc = read_version(path, &version, fault);
    if (rc == SORA_OK && version > SORA_STATE_VERSION)
        rc = sora_fault_set(fault, SORA_E_UNSUPPORTED,
                            "%s is of a newer sorad: its version is %ld, this program knows %d; "
                            "install the newer program or name another --state",
                            state->directory, version, SORA_STATE_VERSION);
    return rc;
}

/* A folder with other things in it is not taken over by mistake. */
static int check_ours(const struct sora_state *state, struct sora_fault *fault)
{
    char path[SORA_STATE_PATH_SIZE];
    bool ours = access(sora_state_path(state, "version", path), F_OK) == 0, strange = false;
    DIR *folder = ours ? NULL : opendir(state->directory);
    for (struct dirent *entry; folder && (entry = readdir(folder));)
        strange |= entry->d_name[0] != '.' && strcmp(entry->d_name, "lock") != 0;
    if (folder)
        closedir(folder);
    if (strange)
        return sora_fault_set(fault, SORA_E_FORMAT,
                              "%s holds other things and no state of a sorad; name a folder of its "
                              "own with --state",
                              state->directory);
    return SORA_OK;
}

/* The folders that hold secrets are the owner's alone. */
static int make_folder(const char *path, struct sora_fault *fault)
{
    int rc = sora_file_make_dirs(path, fault);
    if (rc == SORA_OK && chmod(path, 0700) != 0)
        rc = sora_file_fault(fault, errno, "close to others", path);
    return rc;
}

int sora_state_open(const char *path, struct sora_state *out_state, struct sora_fault *fault)
{
    char folder[SORA_STATE_PATH_SIZE];
    struct sora_state state = {.lock = -1};
    int length = snprintf(state.directory, sizeof(state.directory), "%s", path);
    if (length < 0 || (size_t)length >= sizeof(state.directory))
        return sora_fault_set(fault, SORA_E_LIMIT,
                              "the path of the state has %d bytes; the limit is %zu", length,
                              sizeof(state.directory) - 1);
    int rc = check_ours(&state, fault);
    if (rc == SORA_OK)
        rc = make_folder(state.directory, fault);
    if (rc == SORA_OK)
        rc = take_lock(&state, fault);
    if (rc == SORA_OK)
        rc = check_version(&state, fault);
    if (rc == SORA_OK)
        rc = make_folder(sora_state_path(&state, "ctl", folder), fault);
    if (rc)
        sora_state_close(&state);
    else
        *out_state = state;
    return rc;
}

void sora_state_close(struct sora_state *state)
{
    if (state->lock > 0)
        close(state->lock);
    state->lock = -1;
}
