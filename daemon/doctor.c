/*
 * `soractl doctor`: what could be wrong with this daemon, each check with a sentence that says what
 * was found and, when it is bad, what to do. The answer waits for the test of the door.
 */
#include "base/clock.h"
#include "daemon/daemon_parts.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/timex.h>
#include <unistd.h>

#define CHECKS_MAX 48
#define TEXT_SIZE 400
#define SPACE_MIN ((uint64_t)2 << 30)

struct report {
    Farm__DoctorReply reply;
    Farm__DoctorCheck rows[CHECKS_MAX], *list[CHECKS_MAX];
    char names[CHECKS_MAX][SORA_NAME_SIZE], texts[CHECKS_MAX][TEXT_SIZE];
};

static void add(struct report *report, const char *name, bool good, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static void add(struct report *report, const char *name, bool good, const char *format, ...)
{
    size_t at = report->reply.n_checks;
    va_list arguments;
    if (at == CHECKS_MAX)
        return;
    va_start(arguments, format);
    vsnprintf(report->texts[at], TEXT_SIZE, format, arguments);
    va_end(arguments);
    snprintf(report->names[at], SORA_NAME_SIZE, "%s", name);
    report->rows[at] = (Farm__DoctorCheck)FARM__DOCTOR_CHECK__INIT;
    report->rows[at].name = report->names[at];
    report->rows[at].good = good;
    report->rows[at].text = report->texts[at];
    report->list[at] = &report->rows[at];
    report->reply.n_checks++;
}

static double gigabytes(uint64_t bytes)
{
    return (double)bytes / (double)((uint64_t)1 << 30);
}

static void check_wire(struct sora_daemon *daemon, struct report *report)
{
    static const char *const verdicts[] = {
        [SORA_DOOR_UNTESTED] = "not tested yet",
        [SORA_DOOR_CLOSED] = "an unknown key was turned away",
        [SORA_DOOR_OPEN] = "an unknown key was let in; stop this daemon and report it",
        [SORA_DOOR_SILENT] = "no answer to the test; is this machine overloaded?"};
    const struct sora_link *link = daemon->link;
    const char *control = sora_link_endpoint(link, SORA_CHANNEL_CONTROL);
    add(report, "ports", control[0] != '\0', "control %s, bulk %s, invite %s", control,
        sora_link_endpoint(link, SORA_CHANNEL_BULK), sora_link_endpoint(link, SORA_CHANNEL_INVITE));
    add(report, "door", daemon->door.verdict == SORA_DOOR_CLOSED, "%s",
        verdicts[daemon->door.verdict]);
}

static void check_keys(struct sora_daemon *daemon, struct report *report)
{
    static const char *const names[] = {"sign.key",     "curve.key",     "local.key", "studio.key",
                                        "ctl/sign.key", "ctl/curve.key", "invites"};
    char path[SORA_STATE_PATH_SIZE], bad[TEXT_SIZE / 2] = "";
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct stat status;
        if (stat(sora_state_path(&daemon->state, names[i], path), &status) == 0 &&
            ((status.st_mode & 077) != 0 || status.st_uid != geteuid()))
            snprintf(bad + strlen(bad), sizeof(bad) - strlen(bad), " %s", names[i]);
    }
    if (bad[0])
        add(report, "keys", false,
            "others may use%s; chmod 600 them, and make new ones when in "
            "doubt",
            bad);
    else
        add(report, "keys", true, "only their owner may read them");
    uint64_t wall_now_ms = sora_clock_wall_ms(), ends = daemon->self.identity.wall_not_after_ms;
    bool valid = sora_trust_check(daemon->trust, &daemon->self.identity, 0, wall_now_ms, NULL) == 0;
    add(report, "certificate", valid,
        valid ? "of studio %s, %" PRIu64 " days left"
              : "of studio %s, no longer valid (%" PRIu64 " days left); join again",
        daemon->self.identity.studio, ends > wall_now_ms ? (ends - wall_now_ms) / 86400000 : 0);
}

static void check_clock(struct report *report)
{
    struct timex state = {.modes = 0};
    int status = adjtimex(&state);
    /* Certificates of 2026 exist, so a clock before that is wrong. */
    bool plausible = sora_clock_wall_ms() > UINT64_C(1767225600000);
    if (!plausible)
        add(report, "clock", false,
            "this machine's date is wrong; set it, certificates depend on "
            "it");
    else if (status == TIME_ERROR || (state.status & STA_UNSYNC))
        add(report, "clock", true,
            "not synchronised; members may differ by 5 minutes, run an NTP "
            "service to be sure");
    else
        add(report, "clock", true, "synchronised");
}

static void check_devices(struct sora_daemon *daemon, struct report *report)
{
    const Farm__Advert *advert = parts_advert(daemon->parts);
    if (!advert) {
        add(report, "devices", true, "none: this daemon has not the role node");
        return;
    }
    for (size_t i = 0; i < advert->n_devices; i++) {
        const Farm__Device *device = advert->devices[i];
        char name[SORA_NAME_SIZE];
        snprintf(name, sizeof(name), "device %.40s", device->id);
        add(report, name, device->state != FARM__DEVICE_STATE__DEVICE_FAILED,
            "%.80s, %.1f of %.1f GB free%s%.200s", device->name, gigabytes(device->memory_free),
            gigabytes(device->memory_total), device->state_text[0] ? ": " : "", device->state_text);
    }
    for (int i = 0; i < daemon->config->device_count; i++) {
        const char *sandbox = parts_sandbox(daemon->parts, i);
        bool whole = strstr(sandbox, "seccomp") && strstr(sandbox, "landlock");
        char name[SORA_NAME_SIZE];
        snprintf(name, sizeof(name), "sandbox %.40s", daemon->config->device_rows[i].id);
        if (sandbox[0])
            add(report, name, whole, "%.80s%s", sandbox,
                whole ? "" : "; this kernel offers no more, a newer one holds workers in better");
    }
    if (daemon->config->cards_absent[0])
        add(report, "cards", true, "none: %.300s", daemon->config->cards_absent);
    if (advert->n_devices == 0)
        add(report, "devices", false, "none; see the log for what became of the workers");
    add(report, "worker", access(daemon->config->worker_path, X_OK) == 0, "%.300s",
        daemon->config->worker_path);
}

static void check_models(struct sora_daemon *daemon, struct report *report)
{
    struct sora_model_store *store = parts_models(daemon->parts);
    int count = store ? sora_model_store_count(store) : 0;
    for (int i = 0; i < count; i++) {
        struct sora_model_entry entry;
        char name[SORA_NAME_SIZE], digest[SORA_DIGEST_TEXT_SIZE];
        sora_model_store_at(store, i, &entry);
        snprintf(name, sizeof(name), "model %.50s", entry.name);
        add(report, name, access(entry.path, R_OK) == 0, "%.16s at %.300s",
            sora_digest_text(&entry.digest, digest), entry.path);
    }
    if (store && count == 0)
        add(report, "models", false, "none; add one with `soractl models add DIR`");
}

static void check_disk(struct sora_daemon *daemon, struct report *report)
{
    struct statvfs disk;
    if (statvfs(daemon->state.directory, &disk) != 0) {
        add(report, "disk", false, "%.300s cannot be looked at", daemon->state.directory);
        return;
    }
    uint64_t left = (uint64_t)disk.f_bavail * disk.f_frsize;
    add(report, "disk", left >= SPACE_MIN, "%.1f GB free for %.200s, blobs use %.1f of %.1f GB%s",
        gigabytes(left), daemon->state.directory, gigabytes(parts_blob_bytes(daemon->parts)),
        gigabytes(daemon->config->blob_bytes_max),
        left >= SPACE_MIN ? "" : "; free some, or jobs will wait");
}

static void check_members(struct sora_daemon *daemon, struct report *report)
{
    int up = 0, all = 0;
    for (int i = 0; i < daemon->members.count; i++) {
        const struct sora_member *member = &daemon->members.rows[i];
        if (member->out || !(member->identity.roles & ~(uint32_t)SORA_ROLE_USER))
            continue;
        all++;
        up += member->presence.up_count > 0;
    }
    add(report, "members", true, "%d of %d others connected", up, all);
}

void doctor_start(struct sora_daemon *daemon, const struct sora_origin *origin)
{
    struct sora_fault fault = {0};
    if (daemon->doctor_waits) {
        sora_fault_set(&fault, SORA_E_BUSY, "a doctor is at work already; try again");
        sora_post_refuse(&daemon->post, origin, &fault);
        return;
    }
    daemon->doctor_waits = true;
    daemon->doctor = (struct sora_late){origin->peer, origin->id};
    if (sora_door_test(&daemon->door, daemon->link, &daemon->self.identity, daemon->endpoint,
                       sora_clock_now(), &fault) != SORA_OK) {
        daemon->door.verdict = SORA_DOOR_SILENT;
        doctor_answer(daemon);
    }
}

void doctor_answer(struct sora_daemon *daemon)
{
    static struct report report; /* too large for the stack; one thread, one at a time */
    Farm__Message message = FARM__MESSAGE__INIT;
    if (!daemon->doctor_waits)
        return;
    daemon->doctor_waits = false;
    report.reply = (Farm__DoctorReply)FARM__DOCTOR_REPLY__INIT;
    report.reply.checks = report.list;
    add(&report, "version", true, "sorad %s, protocol %u to %u", SORA_VERSION,
        SORA_PROTOCOL_VERSION_MIN, SORA_PROTOCOL_VERSION_MAX);
    check_wire(daemon, &report);
    check_keys(daemon, &report);
    check_clock(&report);
    check_devices(daemon, &report);
    check_models(daemon, &report);
    check_disk(daemon, &report);
    check_members(daemon, &report);
    message.body_case = FARM__MESSAGE__BODY_DOCTOR_REPLY;
    message.doctor_reply = &report.reply;
    post_reply_late(daemon, &daemon->doctor, &message);
}
