-- Functions that the bridge calls where they exist. Both are of security invoker: they show what
-- the calling role could read anyway. Plain SQL for PostgreSQL 16 to 18; apply it to a project with
-- a table of your own too (in the table's schema, if that is not public).

-- What the reads of the calling role can show. The bridge asks before it takes rows that it no
-- longer finds for deleted: under row level security that hides them, every read agrees.
create or replace function public.bridge_rights(table_schema text, table_name text) returns jsonb
  language sql
  stable
  security invoker
  set search_path = ''
as $$
  with applied as (
    select p.polpermissive, pg_get_expr(p.polqual, p.polrelid) = 'true' as all_rows, p.polrelid
    from pg_policy p
    where p.polcmd in ('r', '*') and exists (
      select from unnest(p.polroles) as role
      where case when role = 0 then true else pg_has_role(role, 'usage') end
    )
  )
  select jsonb_build_object(
    'role', current_user,
    'select', has_any_column_privilege(c.oid, 'select'),
    -- A policy that shows all rows filters nothing.
    'filtered', row_security_active(c.oid) and not (
      exists (select from applied a where a.polrelid = c.oid and a.polpermissive and a.all_rows)
      and not exists (
        select from applied a
        where a.polrelid = c.oid and not a.polpermissive and a.all_rows is not true
      )
    ),
    'update_triggers', (
      select coalesce(jsonb_agg(t.tgname order by t.tgname), '[]')
      from pg_trigger t
      -- for each row (1), before (2), update (16)
      where t.tgrelid = c.oid and not t.tgisinternal and t.tgenabled <> 'D' and (t.tgtype & 19) = 19
    )
  )
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  where n.nspname = table_schema and c.relname = table_name
$$;

-- The number of rows with keys above `after` and up to `up_to`, and a digest of their values. The
-- bridge compares it with the one of its last comparison, and reads only ranges that differ.
-- Without a search_path of its own, so that keys are compared as in the reads.
create or replace function public.bridge_digest(
  table_schema text, table_name text, key_column text, after text default null,
  up_to text default null
) returns text
  language plpgsql
  stable
  security invoker
as $$
declare
  digest text;
begin
  execute format(
    'select count(*) || '':'' || coalesce(sum(hashtextextended((r.*)::text, 0)), 0) '
    'from %I.%I r where true%s%s',
    table_schema, table_name,
    case when after is null then '' else format(' and r.%I > %L', key_column, after) end,
    case when up_to is null then '' else format(' and r.%I <= %L', key_column, up_to) end
  ) into digest;
  return digest;
end;
$$;
