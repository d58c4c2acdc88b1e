"""Who may come in.

    proxies        whose X-Forwarded headers are believed
    origins        which web pages may call
    auth           who may call
    credentials    the users and tokens there are
    attempts       wrong ones make further ones wait
"""
