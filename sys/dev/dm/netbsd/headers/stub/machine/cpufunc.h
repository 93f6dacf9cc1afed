/* Not installed, and nothing of it is needed. */
