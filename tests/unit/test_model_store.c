/* Models: adding a folder, fetching it into another node, damage, tricks, restarts. */
#include "node/model_store_parts.h"
#include "tests/unit/post_fixture.h"

#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>

#define MINI SORA_SOURCE_DIR "/models/mini"
#define MINI_BYTES_MAX ((size_t)32 << 20)

static struct sora_model_store *models[ENDS];
static int done_count, last_code;
static char last_text[SORA_FAULT_TEXT_SIZE];
static struct sora_digest last_digest;

static void note_done(void *context, const struct sora_model_entry *entry,
                      const struct sora_fault *fault)
{
    assert_ptr_equal(context, &done_count);
    assert_true((entry != NULL) == (fault->code == 0));
    done_count++;
    last_code = fault->code;
    snprintf(last_text, sizeof(last_text), "%s", fault->text);
    if (entry)
        last_digest = entry->digest;
}

static const char *end_path(int index, const char *what)
{
    char name[64];
    snprintf(name, sizeof(name), "%s%d", what, index);
    return scratch_path(name);
}

static void start_models(int index)
{
    struct end *end = &ends[index];
    struct sora_model_store_params params = {end->store, end->transfer, end->tasks,
                                             end_path(index, "models"), end_path(index, "cache")};
    struct sora_fault fault = {0};
    if (sora_model_store_create(&params, &models[index], &fault))
        fail_msg("%s", fault.text);
}

static void stop_all(int index)
{
    sora_model_store_destroy(&models[index]);
    stop(index);
}

static int setup(void **state)
{
    now = 1000 * SORA_TIME_SECOND;
    chunk_bytes = 0;
    done_count = 0;
    lie = false;
    int rc = scratch_setup(state);
    for (int i = 0; rc == 0 && i < ENDS; i++) {
        start(i);
        start_models(i);
    }
    return rc;
}

static int teardown(void **state)
{
    lose_all();
    for (int i = 0; i < ENDS; i++)
        stop_all(i);
    return scratch_teardown(state);
}

static int wait_done(int count)
{
    for (int i = 0; done_count < count; i++) {
        assert_true(i < 5000);
        turn();
        pass_time();
    }
    assert_int_equal(done_count, count);
    done_count = 0;
    return last_code;
}

static int add(int index, const char *path)
{
    assert_int_equal(sora_model_store_add(models[index], path, note_done, &done_count), SORA_OK);
    return wait_done(1);
}

static void begin_fetch(int to, int from, const struct sora_digest *digest)
{
    unsigned char node[SORA_NODE_ID_SIZE];
    node_id(from, node);
    assert_int_equal(sora_model_store_fetch(models[to], digest, node, note_done, &done_count),
                     SORA_OK);
}

static int fetch(int to, int from, const struct sora_digest *digest)
{
    begin_fetch(to, from, digest);
    return wait_done(1);
}

/* A copy of mini that may be changed; its times are of long ago. */
static const char *copied;
static int copy_one(const char *path, const struct stat *status, int type, struct FTW *place)
{
    (void)status;
    (void)place;
    char target[2048];
    snprintf(target, sizeof(target), "%s%s", copied, path + strlen(MINI));
    if (type == FTW_D)
        return mkdir(target, 0777) != 0;
    struct sora_bytes bytes;
    if (sora_file_read(path, MINI_BYTES_MAX, &bytes, NULL) != SORA_OK)
        return 1;
    int rc = sora_file_write(target, bytes.data, bytes.size, NULL);
    sora_bytes_fini(&bytes);
    const struct timespec times[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    return rc || utimensat(AT_FDCWD, target, times, 0);
}

static const char *copy_mini(void)
{
    static char path[1024];
    snprintf(path, sizeof(path), "%s", scratch_path("mini"));
    copied = path;
    assert_int_equal(nftw(MINI, copy_one, 8, FTW_PHYS), 0);
    return path;
}

/* Changes a byte of a file, which keeps its size and, if wanted, its time. */
static void damage(const char *folder, const char *name, bool keep_time)
{
    char path[2048];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(chmod(path, 0600), 0);
    int fd = open(path, O_RDWR);
    char byte;
    assert_int_equal(pread(fd, &byte, 1, 100000), 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, 100000), 1);
    close(fd);
    const struct timespec times[2] = {status.st_mtim, status.st_mtim};
    if (keep_time)
        assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

/* ---- adding ---- */

static void a_folder_is_added(void **state)
{
    (void)state;
    assert_int_equal(add(0, MINI), SORA_OK);
    struct sora_model_entry entry;
    assert_true(sora_model_store_find(models[0], &last_digest, &entry));
    assert_string_equal(entry.name, "mini");
    assert_int_equal(entry.facts.channels, 16);
    assert_true(entry.size > 17 << 20 && entry.size < 19 << 20);
    assert_int_equal(sora_model_store_count(models[0]), 1);
    uint64_t size;
    assert_true(sora_blob_store_have(ends[0].store, &last_digest, &size));
    assert_true(sora_blob_store_bytes(ends[0].store) == size); /* the files are only lent */
    struct sora_blob weights;
    assert_int_equal(
        sora_blob_of_file(MINI "/vae/diffusion_pytorch_model.safetensors", &weights, NULL),
        SORA_OK);
    assert_true(sora_blob_store_have(ends[0].store, &weights.digest, &size));
    struct sora_digest first = last_digest; /* the same bytes are the same model */
    assert_int_equal(add(1, copy_mini()), SORA_OK);
    assert_true(sora_digest_equal(&first, &last_digest));
    assert_int_equal(add(1, MINI), SORA_OK);
    assert_int_equal(sora_model_store_count(models[1]), 1);
}

static void digests_are_read_once(void **state)
{
    (void)state;
    const char *path = copy_mini();
    assert_int_equal(add(0, path), SORA_OK);
    struct sora_digest first = last_digest;
    int files = sora_digest_cache_misses(models[0]->cache);
    assert_true(files >= 10);
    assert_int_equal(add(0, path), SORA_OK);
    assert_int_equal(sora_digest_cache_misses(models[0]->cache), files);
    sora_model_store_destroy(&models[0]);
    start_models(0);
    assert_int_equal(add(0, path), SORA_OK);
    assert_int_equal(sora_digest_cache_misses(models[0]->cache), 0);
    assert_true(sora_digest_equal(&first, &last_digest));
    damage(path, "vae/diffusion_pytorch_model.safetensors", false);
    assert_int_equal(add(0, path), SORA_OK);
    assert_int_equal(sora_digest_cache_misses(models[0]->cache), 1);
    assert_false(sora_digest_equal(&first, &last_digest));
    struct sora_model_entry entry; /* it replaces what the folder was */
    assert_false(sora_model_store_find(models[0], &first, &entry));
    assert_int_equal(sora_model_store_count(models[0]), 1);
}

static void what_is_no_model_is_refused(void **state)
{
    (void)state;
    assert_int_equal(add(0, "/nowhere/at/all"), SORA_E_NOT_FOUND);
    assert_int_equal(mkdir(scratch_path("empty"), 0777), 0);
    assert_int_not_equal(add(0, scratch_path("empty")), SORA_OK);
    assert_string_not_equal(last_text, "");
    const char *path = copy_mini();
    char link_path[2048], text[4096];
    snprintf(link_path, sizeof(link_path), "%s/vae/more.safetensors", path);
    assert_int_equal(symlink("/etc/passwd", link_path), 0);
    assert_int_equal(add(0, path), SORA_E_INVALID);
    snprintf(text, sizeof(text), "%s is a symbolic link", link_path);
    assert_non_null(strstr(last_text, text));
    assert_int_equal(unlink(link_path), 0);
    snprintf(link_path, sizeof(link_path), "%s/.git", path); /* hidden ones and others are not
                                                                  the model's */
    assert_int_equal(symlink("/etc", link_path), 0);
    snprintf(link_path, sizeof(link_path), "%s/vae/program.py", path);
    assert_int_equal(sora_file_write(link_path, "x", 1, NULL), SORA_OK);
    assert_int_equal(add(0, path), SORA_OK);
    struct sora_digest first = last_digest;
    assert_int_equal(add(0, MINI), SORA_OK);
    assert_true(sora_digest_equal(&first, &last_digest));
}

/* Moves a file of the copied model to the cache's blobs and links it in the snapshot. */
static int cached_count;
static int cache_one(const char *path, const struct stat *status, int type, struct FTW *place)
{
    (void)status;
    char to[2048], blob[2048], link[2048] = "../../";
    snprintf(to, sizeof(to), "%s%s", scratch_path("hub/models--org--mini/snapshots/5f0a"),
             path + strlen(copied));
    if (type == FTW_D)
        return mkdir(to, 0777) != 0;
    char name[32];
    snprintf(name, sizeof(name), "blobs/%04d", cached_count++);
    snprintf(blob, sizeof(blob), "%s/%s", scratch_path("hub/models--org--mini"), name);
    for (int i = 1; i < place->level; i++)
        strcat(link, "../");
    strcat(link, name);
    return rename(path, blob) || symlink(link, to);
}

/* models--org--mini/snapshots/5f0a has links to models--org--mini/blobs. */
static void the_cache_of_a_hub_is_a_model(void **state)
{
    (void)state;
    char snapshot[1024], link_path[2048];
    snprintf(snapshot, sizeof(snapshot), "%s",
             scratch_path("hub/models--org--mini/snapshots/5f0a"));
    assert_int_equal(sora_file_make_dirs(scratch_path("hub/models--org--mini/blobs"), NULL), 0);
    assert_int_equal(sora_file_make_dirs(scratch_path("hub/models--org--mini/snapshots"), NULL), 0);
    cached_count = 0;
    assert_int_equal(nftw(copy_mini(), cache_one, 8, FTW_PHYS), 0);
    assert_int_equal(sora_model_folder_check_links(snapshot, NULL), SORA_OK);
    assert_int_equal(unlink(scratch_path("hub/models--org--mini/snapshots/5f0a/sora.yaml")), 0);
    assert_int_equal(add(0, snapshot), SORA_OK);
    struct sora_model_entry entry;
    sora_model_store_at(models[0], 0, &entry);
    assert_string_equal(entry.name, "mini"); /* as the repository is called */
    struct sora_digest digest = last_digest;
    assert_int_equal(fetch(1, 0, &digest), SORA_OK);

    snprintf(link_path, sizeof(link_path), "%s/vae/more.safetensors", snapshot);
    assert_int_equal(sora_file_make_dirs(scratch_path("hub/models--org--other"), NULL), 0);
    assert_int_equal(sora_file_write(scratch_path("hub/models--org--other/x"), "x", 1, NULL), 0);
    assert_int_equal(symlink("../../../../models--org--other/x", link_path), 0);
    assert_int_equal(add(0, snapshot), SORA_E_INVALID);
    assert_non_null(strstr(last_text, "more.safetensors is a symbolic link that leads out of"));
    assert_int_equal(sora_model_folder_check_links(snapshot, NULL), SORA_E_INVALID);
    assert_int_equal(unlink(link_path), 0);
    assert_int_equal(symlink("../gone", link_path), 0);
    assert_int_equal(add(0, snapshot), SORA_E_INVALID);
    assert_non_null(strstr(last_text, "leads nowhere"));
}

static void a_deep_folder_is_refused(void **state)
{
    (void)state;
    char path[1024];
    snprintf(path, sizeof(path), "%s", copy_mini());
    for (int i = 0; i < 9; i++) {
        strcat(path, "/deep");
        assert_int_equal(mkdir(path, 0777), 0);
    }
    assert_int_equal(add(0, scratch_path("mini")), SORA_E_LIMIT);
}

/* ---- fetching ---- */

static void check_fetched(int index, const struct sora_digest *digest)
{
    struct sora_model_entry entry, original;
    assert_true(sora_model_store_find(models[index], digest, &entry));
    assert_true(sora_model_store_find(models[0], digest, &original));
    assert_string_equal(entry.name, "mini");
    assert_int_equal(entry.size, original.size);
    assert_int_equal(entry.facts.window, original.facts.window);
    assert_int_equal(entry.facts.hidden, original.facts.hidden);
    assert_string_equal(entry.facts.words, original.facts.words);
    assert_ptr_equal(strstr(entry.path, end_path(index, "models")), entry.path);
    struct sora_digest_cache *cache = NULL;
    struct sora_bytes manifest;
    struct sora_fault fault = {0};
    sora_bytes_init(&manifest, SORA_MODEL_MANIFEST_BYTES_MAX);
    assert_int_equal(sora_digest_cache_create("/nowhere", &cache), SORA_OK);
    if (sora_model_folder_check(entry.path, digest, cache, &manifest, &fault))
        fail_msg("%s", fault.text);
    sora_bytes_fini(&manifest);
    sora_digest_cache_destroy(&cache);
}

static void a_model_is_fetched_and_survives(void **state)
{
    (void)state;
    assert_int_equal(add(0, MINI), SORA_OK);
    struct sora_digest digest = last_digest;
    begin_fetch(1, 0, &digest);
    begin_fetch(1, 0, &digest);
    char words[200];
    assert_true(sora_model_store_progress(models[1], &digest, words, sizeof(words)));
    assert_string_equal(words, "the model's manifest");
    while (chunk_bytes < (8 << 20))
        turn();
    assert_true(sora_model_store_progress(models[1], &digest, words, sizeof(words)));
    assert_non_null(strstr(words, "mini: "));
    assert_non_null(strstr(words, " of 14 files, "));
    assert_int_equal(wait_done(2), SORA_OK);
    assert_false(sora_model_store_progress(models[1], &digest, words, sizeof(words)));
    check_fetched(1, &digest);
    uint64_t until_now = chunk_bytes;
    assert_int_equal(fetch(1, 0, &digest), SORA_OK);
    assert_int_equal(chunk_bytes, until_now);

    stop_all(1);
    start(1);
    start_models(1);
    for (int i = 0; sora_model_store_count(models[1]) == 0; i++) {
        assert_true(i < 100);
        turn();
    }
    check_fetched(1, &digest);
    assert_int_equal(fetch(2, 1, &digest), SORA_OK); /* and is given on */
    check_fetched(2, &digest);
}

static void a_fetch_goes_on_after_a_restart(void **state)
{
    (void)state;
    assert_int_equal(add(0, MINI), SORA_OK);
    struct sora_digest digest = last_digest;
    begin_fetch(1, 0, &digest);
    while (chunk_bytes < (10 << 20))
        turn();
    lose_all();
    stop_all(1);
    assert_int_equal(done_count, 0);
    start(1);
    start_models(1);
    sora_blob_transfer_peer(ends[0].transfer, ends[1].post.self, false);
    uint64_t until_now = chunk_bytes;
    assert_int_equal(fetch(1, 0, &digest), SORA_OK);
    assert_true(chunk_bytes - until_now < 14 << 20);
    check_fetched(1, &digest);
}

static void forgotten_fetches_end_and_can_go_on(void **state)
{
    (void)state;
    assert_int_equal(add(0, MINI), SORA_OK);
    struct sora_digest digest = last_digest;
    begin_fetch(1, 0, &digest);
    while (chunk_bytes < (6 << 20))
        turn();
    sora_model_store_forget(models[1], &done_count);
    char words[100];
    assert_false(sora_model_store_progress(models[1], &digest, words, sizeof(words)));
    for (int i = 0; i < 10; i++)
        turn();
    assert_int_equal(done_count, 0);
    assert_int_equal(fetch(1, 0, &digest), SORA_OK);
    check_fetched(1, &digest);
}

/* Folders below the models' folder of a node. */
static int layouts(int index)
{
    char name[16];
    snprintf(name, sizeof(name), "models%d", index);
    return scratch_entry_count(name);
}

static void a_corrupted_file_is_refused(void **state)
{
    (void)state;
    const char *path = copy_mini();
    assert_int_equal(add(0, path), SORA_OK);
    struct sora_digest digest = last_digest;
    damage(path, "transformer/diffusion_pytorch_model.safetensors", true);
    assert_int_equal(fetch(1, 0, &digest),
                     SORA_E_FORMAT); /* other bytes of the same size and time */
    assert_int_equal(layouts(1), 0);
    assert_int_equal(sora_model_store_count(models[1]), 0);
    damage(path, "transformer/diffusion_pytorch_model.safetensors", false);
    assert_int_equal(fetch(1, 0, &digest), SORA_E_NOT_FOUND); /* a file that has changed */
    assert_int_equal(layouts(1), 0);
    struct sora_digest unknown = digest;
    unknown.bytes[3] ^= 1;
    assert_int_equal(fetch(1, 0, &unknown), SORA_E_NOT_FOUND);
}

static void a_damaged_layout_is_left_out(void **state)
{
    (void)state;
    assert_int_equal(add(0, MINI), SORA_OK);
    struct sora_digest digest = last_digest;
    assert_int_equal(fetch(1, 0, &digest), SORA_OK);
    struct sora_model_entry entry;
    assert_true(sora_model_store_find(models[1], &digest, &entry));
    damage(entry.path, "vae/diffusion_pytorch_model.safetensors", false);
    stop_all(1);
    start(1);
    start_models(1);
    for (int i = 0; i < 5; i++)
        turn();
    assert_int_equal(sora_model_store_count(models[1]), 0);
    assert_int_equal(fetch(1, 0, &digest), SORA_OK);
    check_fetched(1, &digest);
}

/* ---- tricks ---- */

/* A model like mini whose manifest names README.md otherwise, of the same length. */
static struct sora_digest put_trick(const char *name)
{
    struct sora_bytes manifest;
    char path[SORA_FILE_PATH_SIZE];
    assert_int_equal(sora_blob_store_path(ends[0].store, &last_digest, path, sizeof(path), NULL),
                     SORA_OK);
    assert_int_equal(sora_file_read(path, SORA_MODEL_MANIFEST_BYTES_MAX, &manifest, NULL), SORA_OK);
    char *at = memmem(manifest.data, manifest.size, "README.md", 9);
    assert_non_null(at);
    memcpy(at, name, 9);
    struct sora_digest digest;
    sora_digest_of(manifest.data, manifest.size, &digest);
    assert_int_equal(sora_blob_store_put(ends[0].store, manifest.data, manifest.size, NULL, NULL),
                     SORA_OK);
    sora_bytes_fini(&manifest);
    turn();
    return digest;
}

static void tricks_in_a_manifest_are_refused(void **state)
{
    (void)state;
    assert_int_equal(add(0, MINI), SORA_OK);
    const char *const names[] = {"../evil.m", "/etc/evil", "A/../../b", ".manifest", "a//evil.m"};
    for (int i = 0; i < 5; i++) {
        struct sora_digest digest = put_trick(names[i]);
        assert_int_equal(fetch(1, 0, &digest), SORA_E_FORMAT);
        assert_int_equal(layouts(1), 0);
    }
    assert_int_equal(sora_model_store_count(models[1]), 0);
    struct sora_digest digest = put_trick("model_ind"); /* a harmless other name is fine */
    assert_int_equal(fetch(1, 0, &digest), SORA_OK);
    struct sora_blob weights; /* a blob that is no manifest is none */
    assert_int_equal(sora_blob_of_file(MINI "/sora.yaml", &weights, NULL), SORA_OK);
    assert_int_not_equal(fetch(1, 0, &weights.digest), SORA_OK);
    assert_int_equal(layouts(1), 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_folder_is_added),
        TEST(digests_are_read_once),
        TEST(what_is_no_model_is_refused),
        TEST(a_deep_folder_is_refused),
        TEST(the_cache_of_a_hub_is_a_model),
        TEST(a_model_is_fetched_and_survives),
        TEST(a_fetch_goes_on_after_a_restart),
        TEST(forgotten_fetches_end_and_can_go_on),
        TEST(a_corrupted_file_is_refused),
        TEST(a_damaged_layout_is_left_out),
        TEST(tricks_in_a_manifest_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
