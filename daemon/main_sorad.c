/*
 * sorad: the daemon. Options and configuration, signals, systemd; the rest is daemon/daemon.h.
 */
#include "base/log.h"
#include "base/roff.h"
#include "daemon/daemon.h"
#include "daemon/log_ring.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#define STATUS_SECONDS 5

#define EXIT_CONFIGURATION 2 /* what was asked for cannot be */

static void complain(int code, const struct sora_fault *fault)
{
    fprintf(stderr, "sorad: %s\n", fault->text[0] ? fault->text : sora_error_text(code));
}

/* Signals become readable; nothing is interrupted. */
static int open_signals(void)
{
    sigset_t set;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file size limit becomes an error of the write */
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* One connection takes a few descriptors; the soft limit of 1,024 is soon reached. */
static void raise_limits(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max < 65536 ? files.rlim_max : 65536;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

/* The second signal ends at once. */
static bool take_signals(struct sora_daemon *daemon, int signals, int *count)
{
    struct signalfd_siginfo info;
    while (read(signals, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (++*count > 1)
            return true;
        sora_log(SORA_LOG_INFO, "draining, a second signal ends at once signal=%u", info.ssi_signo);
        sd_notify(0, "STOPPING=1");
        sora_daemon_drain(daemon);
    }
    return false;
}

static void tell_systemd(const struct sora_daemon *daemon, sora_time now, sora_time *next)
{
    char status[200];
    if (now < *next)
        return;
    *next = now + STATUS_SECONDS * SORA_TIME_SECOND;
    sora_daemon_status(daemon, status, sizeof(status));
    sd_notifyf(0, "STATUS=%s\nWATCHDOG=1", status);
}

static int run(struct sora_daemon *daemon, int signals, struct sora_fault *fault)
{
    sora_time status_at = 0;
    int taken = 0;
    for (;;) {
        sora_time now = sora_clock_now();
        tell_systemd(daemon, now, &status_at);
        int rc = sora_daemon_turn(daemon, status_at, signals, fault);
        if (rc)
            return rc;
        if (take_signals(daemon, signals, &taken) ||
            sora_daemon_is_drained(daemon, sora_clock_now()))
            return SORA_OK;
    }
}

static int serve(struct sora_config *config)
{
    struct sora_daemon *daemon = NULL;
    struct sora_fault fault = {0};
    int signals = open_signals();
    if (signals < 0) {
        complain(SORA_E_INTERNAL, &fault);
        return EXIT_FAILURE;
    }
    raise_limits();
    umask(077);
    sora_log_set_level((enum sora_log_level)config->log_level);
    sora_log_ring_start();
    sora_config_find_cards(config);
    int rc = sora_daemon_create(config, &daemon, &fault);
    if (rc == SORA_OK) {
        sd_notify(0, "READY=1");
        rc = run(daemon, signals, &fault);
    }
    sora_daemon_destroy(&daemon);
    close(signals);
    if (rc)
        complain(rc, &fault);
    else
        sora_log(SORA_LOG_INFO, "ended");
    return rc ? EXIT_FAILURE : EXIT_SUCCESS;
}

static void print_manual(FILE *out)
{
    sora_roff_head("sorad", 8, "daemon of a render farm", "sorad [options]", out);
    sora_roff_text(sora_config_table.about, out);
    fputs("\nFarms are made and joined with\n.BR soractl (1).\n"
          ".SH OPTIONS\nEach but \\-\\-config, \\-\\-check\\-config, "
          "\\-\\-help, \\-\\-manual and \\-\\-version is also a key of the YAML file, with "
          "\\(oq_\\(cq for \\(oq\\-\\(cq. Options win over the file.\n",
          out);
    sora_roff_options(&sora_config_table, out);
    fputs(
        ".SH SIGNALS\nSIGTERM and SIGINT drain: no new work is taken, running work is handed over "
        "at its next checkpoint. A second one ends at once.\n"
        ".SH EXIT STATUS\n0 ended as asked, 1 failed, 2 bad configuration.\n"
        ".SH FILES\n.TP\n~/.config/sorafarm/sorad.yaml, /etc/sorafarm/sorad.yaml\n"
        "the configuration; the first that exists is read.\n"
        ".TP\n/var/lib/sorafarm, ~/.local/state/sorafarm\nthe state.\n"
        ".SH ENVIRONMENT\n.TP\nSORAFARM_STATE\nthe state folder.\n"
        ".SH SEE ALSO\n.BR soractl (1),\n.BR sora\\-worker (1)\n",
        out);
}

int main(int argc, char **argv)
{
    struct sora_config config;
    struct sora_fault fault = {0};
    int status = EXIT_SUCCESS;
    int rc = sora_config_load(argc, argv, &config, &fault);
    if (rc) {
        complain(rc, &fault);
        status = EXIT_CONFIGURATION;
    } else if (config.help) {
        sora_settings_print_help(&sora_config_table, stdout);
    } else if (config.manual) {
        print_manual(stdout);
    } else if (config.version) {
        puts("sorad " SORA_VERSION);
    } else if (config.check_config) {
        sora_config_print(&config, stdout);
    } else {
        status = serve(&config);
    }
    sora_config_fini(&config);
    return status;
}
