
/*
 * What a tree that is configured on a BSD has besides, as far as the pipe can
 * tell: enough to compile and to try its code for kqueue on any system.
 * Included before all else; a macro of the command line is not seen by bindgen.
 */

#define NGX_HAVE_KQUEUE  1

#define EV_EOF           0x8000
