/*
 * Stands in for libFuzzer where it is not built in: gives the target an empty input and every file
 * of the folders named on the command line.
 */
#include "base/files.h"

#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INPUT_SIZE_MAX ((size_t)64 << 20)

/* The input lies in a block of exactly its size, so that a sanitizer sees every byte read past it.
 */
static int replay_file(const char *path)
{
    struct sora_fault fault = {0};
    struct sora_bytes bytes;
    if (sora_file_read(path, INPUT_SIZE_MAX, &bytes, &fault)) {
        fprintf(stderr, "replay: %s\n", fault.text);
        return -1;
    }
    uint8_t *exact = malloc(bytes.size > 0 ? bytes.size : 1);
    if (!exact) {
        sora_bytes_fini(&bytes);
        return -1;
    }
    if (bytes.size > 0)
        memcpy(exact, bytes.data, bytes.size);
    LLVMFuzzerTestOneInput(exact, bytes.size);
    free(exact);
    sora_bytes_fini(&bytes);
    return 0;
}

static int replay_folder(const char *folder, int *count)
{
    DIR *dir = opendir(folder);
    if (!dir) {
        fprintf(stderr, "replay: cannot read folder %s\n", folder);
        return -1;
    }
    int failed = 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        char path[SORA_FILE_PATH_SIZE];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        failed |= replay_file(path);
        ++*count;
    }
    closedir(dir);
    return failed;
}

int main(int argc, char **argv)
{
    uint8_t *nothing = calloc(1, 1);
    int failed = nothing ? 0 : -1, count = 0;
    if (nothing)
        LLVMFuzzerTestOneInput(nothing, 0);
    free(nothing);
    for (int i = 1; i < argc; i++)
        failed |= replay_folder(argv[i], &count);
    printf("replayed %d inputs\n", count);
    return failed ? 1 : 0;
}
