from owt.frontend.scheduling.watchers import News, Watchers


def test_watchers_hear_the_news_in_order_until_they_are_removed():
    watchers, heard = Watchers(), []
    first, second = (lambda news, n=n: heard.append((n, news)) for n in (1, 2))
    watchers.add(first)
    watchers.add(second)
    watchers.tell("started")
    watchers.remove(first)
    watchers.remove(first)
    watchers.tell("died")
    assert heard == [(1, "started"), (2, "started"), (2, "died")]


def test_a_watcher_may_leave_while_it_hears():
    watchers, heard = Watchers(), []

    def once(news: News) -> None:
        heard.append(news)
        watchers.remove(once)

    watchers.add(once)
    watchers.add(heard.append)
    watchers.tell("closed")
    assert heard == ["closed", "closed"]
