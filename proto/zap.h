/*
 * ZAP: the thread that says which CURVE keys may connect to the sockets of one ZeroMQ context.
 *
 * The handler is bound before create returns, so before any listener exists. The table of admitted
 * keys may be changed by the owner at any time. When the thread ends, for whatever reason, libzmq
 * finds no handler and, with the socket options of proto/link_socket.c, refuses everybody.
 */
#ifndef SORA_PROTO_ZAP_H
#define SORA_PROTO_ZAP_H

#include "base/error.h"
#include "proto/keys.h"

#include <stdbool.h>

#define SORA_ZAP_MEMBERS "sora"       /* domain of sockets for admitted keys */
#define SORA_ZAP_GUESTS "sora-invite" /* domain of the invite socket: any key, by CURVE */
#define SORA_ZAP_KEYS_MAX 1024
#define SORA_ZAP_USER_SIZE 65 /* User-Id: the key in hexadecimal, with NUL */

struct sora_zap;

/* Binds the handler of `zmq_context`, which is kept, and starts its thread. Errors: INTERNAL. */
int sora_zap_create(void *zmq_context, struct sora_zap **out_zap, struct sora_fault *fault);
void sora_zap_destroy(struct sora_zap **zap);

/* Errors: FULL. Admitted already is fine. */
int sora_zap_admit(struct sora_zap *zap, const unsigned char curve[SORA_KEY_PUBLIC_SIZE]);
void sora_zap_dismiss(struct sora_zap *zap, const unsigned char curve[SORA_KEY_PUBLIC_SIZE]);

/* The next refusal is our own test of the door, and is not logged. */
void sora_zap_expect_refusal(struct sora_zap *zap);

/* False once the thread has ended. Any thread. */
bool sora_zap_alive(const struct sora_zap *zap);

/* Ends the thread, by the owner; what create made stays until destroy. */
void sora_zap_stop(struct sora_zap *zap);

#endif
