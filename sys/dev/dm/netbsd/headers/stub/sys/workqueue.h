/* As sys/sys/workqueue.h. */
struct work {
	void *wk_dummy;
};
