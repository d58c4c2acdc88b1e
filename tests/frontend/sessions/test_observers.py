from owt.frontend.sessions.observers import KernelEvent, Observers


def test_watchers_hear_the_news_in_order_until_they_are_removed():
    observers, heard = Observers(), []
    first, second = (lambda news, n=n: heard.append((n, news)) for n in (1, 2))
    observers.add(first)
    observers.add(second)
    observers.tell("started")
    observers.remove(first)
    observers.remove(first)
    observers.tell("died")
    assert heard == [(1, "started"), (2, "started"), (2, "died")]


def test_a_watcher_may_leave_while_it_hears():
    observers, heard = Observers(), []

    def once(news: KernelEvent) -> None:
        heard.append(news)
        observers.remove(once)

    observers.add(once)
    observers.add(heard.append)
    observers.tell("closed")
    assert heard == ["closed", "closed"]
