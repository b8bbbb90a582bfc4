/* list.h - an intrusive doubly linked ring. A head is a node that points to itself when empty. */
#ifndef LDR_BASE_LIST_H
#define LDR_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

typedef struct ldr_list {
    struct ldr_list *prev, *next;
} ldr_list;

#define ldr_list_of(node, type, member) ((type *)(void *)((char *)(node) - offsetof(type, member)))

static inline void ldr_list_init(ldr_list *l)
{
    l->prev = l->next = l;
}

static inline bool ldr_list_empty(const ldr_list *l)
{
    return l->next == l;
}

static inline void ldr_list_push(ldr_list *head, ldr_list *node) /* at the tail */
{
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}

static inline void ldr_list_drop(ldr_list *node) /* dropping twice is harmless */
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    ldr_list_init(node);
}

#endif
