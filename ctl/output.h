/*
 * Output: words and JSON for what the daemon says. Standard output holds results only; notes and
 * progress go to standard error. One thread.
 */
#ifndef SORA_CTL_OUTPUT_H
#define SORA_CTL_OUTPUT_H

#include "proto/message.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#define SORA_ID_TEXT_SIZE 65
/* The first `bytes` bytes in hexadecimal. */
const char *sora_output_hex(const ProtobufCBinaryData *data, size_t bytes,
                            char out[SORA_ID_TEXT_SIZE]);
/* How people name a job: its first 4 bytes. */
const char *sora_output_job(const ProtobufCBinaryData *job, char out[SORA_ID_TEXT_SIZE]);

#define SORA_TEXT_SIZE 48
const char *sora_output_time(double seconds, char out[SORA_TEXT_SIZE]);  /* "1:05", "1:02:03" */
const char *sora_output_bytes(uint64_t bytes, char out[SORA_TEXT_SIZE]); /* "6.1 GB" */
const char *sora_output_ago(uint64_t wall_ms, char out[SORA_TEXT_SIZE]); /* "5 min ago", "never" */

const char *sora_output_job_state(int state);
const char *sora_output_shard_state(int state);
const char *sora_output_roles(uint32_t roles, char out[SORA_TEXT_SIZE]);
bool sora_output_job_over(int state);

/* Prints and frees; the second on one line, as a command prints that has several to say. */
void sora_output_json(json_t *value);
void sora_output_json_line(json_t *value);

json_t *sora_output_job_json(const Farm__JobStatus *job);
json_t *sora_output_shard_json(const Farm__ShardStatus *shard);
json_t *sora_output_hex_json(const ProtobufCBinaryData *data);

/* Several lines: the job and its shards. */
void sora_output_job_text(const Farm__JobStatus *job, FILE *out);
/* One line, without newline. */
void sora_output_shard_line(const Farm__JobStatus *job, const Farm__ShardStatus *shard, char *out,
                            size_t size);
void sora_output_job_line(const Farm__JobStatus *job, char *out, size_t size);

#endif
