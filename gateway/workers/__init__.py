"""The parent process and its workers: who is started, told, replaced and ended when, and what each has to know."""
