/*
 * Motion between two frames by block matching, without any network.
 *
 * Pure functions on the caller's memory, any thread. Planes are 8-bit luma, rows of `width` bytes.
 */
#ifndef SORA_MEDIA_MOTION_H
#define SORA_MEDIA_MOTION_H

#include <stdint.h>

#define SORA_MOTION_BLOCK 16
#define SORA_MOTION_REACH_MAX 16

struct sora_motion {
    double residual; /* mean |next - motion-compensated previous|, grey levels */
    double speed;    /* mean length of the blocks' motion, pixels per frame; blocks nearer to the
                      * frame's edge than the reach do not count when there are others, because
                      * what enters the picture has nowhere to come from */
};

/* Matches every whole 16x16 block of `next` in `previous`: all whole-pixel shifts up to `reach`
 * (1..SORA_MOTION_REACH_MAX), a slight preference for short ones so that flat blocks stay put, then
 * one least-squares step on gradients for the fraction of a pixel (Lucas and Kanade 1981, damped so
 * that directions without texture give no motion). Width and height at least 16. */
struct sora_motion sora_motion_estimate(const uint8_t *previous, const uint8_t *next, int width,
                                        int height, int reach);

/* The reach for a frame size: an eighth of the shorter side, 1..SORA_MOTION_REACH_MAX. */
int sora_motion_reach(int width, int height);

#endif
