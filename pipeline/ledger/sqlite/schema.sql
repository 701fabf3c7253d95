create table meta (
    name  text primary key,
    value text not null
) without rowid;

-- What happened; only ever added to.
create table history (
    id      integer primary key autoincrement,
    at      integer not null, -- microseconds since 1970, UTC
    batch   text not null,
    service text not null,
    account text not null,    -- '' for the service itself
    stage   text not null,
    effect  text not null,
    mark    text not null,
    text    text not null
);
create index history_key on history (batch, service, account, id);

-- What has been reached and what comes next; one row per service and account.
create table state (
    batch   text not null,
    service text not null,
    account text not null,
    underway integer not null, -- 1: a cutover has begun and has not ended
    data    text not null,
    primary key (batch, service, account)
) without rowid;
create index state_underway on state (underway) where underway = 1;

-- Values that a stage keeps per account, service or batch: UID map, skipped messages, sealed password.
create table kept (
    batch   text not null,
    service text not null,
    account text not null,
    name    text not null,
    value   blob not null,
    primary key (batch, service, account, name)
) without rowid;
