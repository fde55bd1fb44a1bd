/* Call one segment of a host library on memory that comes over standard input, and write that memory to standard output.
 *
 *   emulated_host LIBRARY SYMBOL
 *
 * All numbers are int64. In: the count of blocks and the size of each; the count of buffers, and for each its block and its offset there;
 * the count of dimensions and each extent; the bytes of the blocks. Out: what the segment returned; after 0 the bytes of the blocks,
 * else the error's text.
 */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { ALIGNMENT = 64 };

static void refuse(const char *what) {
  fprintf(stderr, "emulated_host: %s\n", what);
  exit(2);
}

static void take(void *data, size_t nbytes) {
  if (fread(data, 1, nbytes, stdin) != nbytes) refuse("the input ends early");
}

static void give(const void *data, size_t nbytes) {
  if (fwrite(data, 1, nbytes, stdout) != nbytes) refuse("the output cannot be written");
}

static int64_t *take_numbers(int64_t count) {
  int64_t *numbers = calloc((size_t)count + 1, sizeof(int64_t));
  if (numbers == NULL) refuse("out of memory");
  take(numbers, (size_t)count * sizeof(int64_t));
  return numbers;
}

static int64_t take_number(void) {
  int64_t number;
  take(&number, sizeof number);
  return number;
}

int main(int argc, char **argv) {
  if (argc != 3) refuse("usage: emulated_host LIBRARY SYMBOL");
  void *library = dlopen(argv[1], RTLD_NOW);
  if (library == NULL) refuse(dlerror());
  int (*segment)(void **, const int64_t *) = (int (*)(void **, const int64_t *))dlsym(library, argv[2]);
  const char *(*error)(void) = (const char *(*)(void))dlsym(library, "lb_error");
  if (segment == NULL || error == NULL) refuse("the library lacks the segment or lb_error");

  int64_t num_blocks = take_number();
  int64_t *sizes = take_numbers(num_blocks);
  int64_t num_buffers = take_number();
  int64_t *places = take_numbers(2 * num_buffers);
  int64_t *dims = take_numbers(take_number());
  char **blocks = calloc((size_t)num_blocks + 1, sizeof(char *));
  void **buffers = calloc((size_t)num_buffers + 1, sizeof(void *));
  if (blocks == NULL || buffers == NULL) refuse("out of memory");
  for (int64_t i = 0; i < num_blocks; ++i) {
    blocks[i] = aligned_alloc(ALIGNMENT, ((size_t)sizes[i] / ALIGNMENT + 1) * ALIGNMENT);
    if (blocks[i] == NULL) refuse("out of memory");
    take(blocks[i], (size_t)sizes[i]);
  }
  for (int64_t i = 0; i < num_buffers; ++i) buffers[i] = blocks[places[2 * i]] + places[2 * i + 1];

  int64_t code = segment(buffers, dims);
  give(&code, sizeof code);
  if (code != 0) fputs(error(), stdout);
  for (int64_t i = 0; code == 0 && i < num_blocks; ++i) give(blocks[i], (size_t)sizes[i]);
  return fflush(stdout) == 0 ? 0 : 2;
}
