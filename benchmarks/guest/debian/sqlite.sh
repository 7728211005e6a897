# A database in memory: inserts, an index, joins, groups, updates, a check of the whole.
rows=$((4000 * $1 / 100))
exec sqlite3 -batch :memory: "
create table item (id integer primary key, shelf integer, name text, price real);
begin;
with recursive counter (n) as (select 1 union all select n + 1 from counter where n < $rows)
insert into item select n, n * 7919 % 101, printf('item %d of %d', n * 31 % 997, n), n * 3 % 1000 / 4.0 from counter;
commit;
create index by_shelf on item (shelf, price);
create table shelf as select shelf as id, count(*) as items, sum(price) as total from item group by shelf;
select sum(items), sum(total) from shelf;
select shelf.id, count(*), max(name) from item join shelf on item.shelf = shelf.id
  where price > total / items group by shelf.id order by 2 desc, 1 limit 5;
update item set price = price * 1.5 where shelf in (select id from shelf where id % 3 = 0);
delete from item where name like '%9%' and price < 100;
select count(*), sum(price), sum(length(name)), min(name), max(upper(name)) from item;
select sum(a.price) from item a join item b on b.id = a.id * 2 where a.shelf < b.shelf;
pragma integrity_check;
"
