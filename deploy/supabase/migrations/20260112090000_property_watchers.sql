-- Watches of users: a property, or a region with all its properties. Plain SQL for PostgreSQL 16 to
-- 18, to be applied after the migration of the listings.

create table public.property_watchers (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null default auth.uid() references auth.users on delete cascade,
  -- The id of a listing. Deliberately no foreign key: an import that deletes and reinserts listings,
  -- or truncates the table, must not delete users' watches. A watch of a listing that no longer
  -- exists has no effect and costs its row.
  property_id uuid,
  -- A region path of the bridge: 'TX', or 'TX/Austin' with BRIDGE_REGION=state,city.
  region text check (char_length(region) between 1 and 200),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default clock_timestamp(),

  constraint property_watchers_one_target check (num_nonnulls(property_id, region) = 1),
  constraint property_watchers_each_once unique nulls not distinct (user_id, property_id, region)
);

comment on table public.property_watchers is
  'Who is notified of what; read by the bridge where BRIDGE_WATCHERS names this table';

create trigger property_watchers_touch_updated_at
  before update on public.property_watchers
  for each row execute function public.touch_updated_at();

-- Users write to this table, and the bridge keeps all of it in memory, so rows per user are limited.
create function public.limit_property_watchers() returns trigger
  language plpgsql
  set search_path = ''
as $$
begin
  if (select count(*) from public.property_watchers where user_id = new.user_id) >= 1000 then
    raise exception 'expected at most 1000 watches of one user'
      using errcode = 'check_violation', hint = 'Delete some of them first.';
  end if;
  return new;
end;
$$;

create trigger property_watchers_limit
  before insert on public.property_watchers
  for each row execute function public.limit_property_watchers();

-- Keyset reads of rows changed since a time. The unique constraint serves queries by user.
create index property_watchers_updated_at_id on public.property_watchers (updated_at, id);

grant select, insert, update, delete on public.property_watchers to service_role;
grant select, insert, delete on public.property_watchers to authenticated;

alter table public.property_watchers enable row level security;

create policy "Users see their own watches"
  on public.property_watchers for select
  to authenticated
  using (user_id = (select auth.uid()));

create policy "Users watch for themselves"
  on public.property_watchers for insert
  to authenticated
  with check (user_id = (select auth.uid()));

create policy "Users end their own watches"
  on public.property_watchers for delete
  to authenticated
  using (user_id = (select auth.uid()));

do $$
begin
  if not exists (
    select from pg_publication_tables
    where pubname = 'supabase_realtime'
      and schemaname = 'public' and tablename = 'property_watchers'
  ) then
    alter publication supabase_realtime add table public.property_watchers;
  end if;
end;
$$;
