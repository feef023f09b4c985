"""The `penchant.toml` that `penchant init` writes: every key, what it means, and its default."""

TEMPLATE = """\
# The settings of this workspace. Every key is here. A line that begins with "# key =" shows a default: take
# the "# " away and change it. An unknown key or a wrong value is refused with its place and what is accepted.


[workspace]
# Randomness follows from this number: the same data, settings and seed train the same bytes.
# seed = 42
# How many versions of each model and snapshot stay on disk. The one that is served always stays.
# keep_versions = 3


[data]
# Recipes learn from the last so many days; without this line from all. Feeds still know the rest.
# window_days = 365
# What an event of a type is worth to recipes that weigh events (0 leaves it out, types not named weigh 1).
# event_weights = { purchase = 3.0, view = 1.0 }
# The property of an item that people know it by, for explanations; without it the item's id is shown.
# title = "title"
# The property of an item that says who made it, for the source "followed".
# author = "author"


# Recipes: what is trained. The name after "recipes." is yours; feeds call it by that name.
# "penchant train" trains all of them, "penchant train for_you" one.

[recipes.for_you]
# Implicit matrix factorisation: what similar users took. Knows a new user after the first event.
recipe = "ials"
# The recipe "lookalike" uses the columns of the users table too: somebody without a history gets what people
# like them want, and is handed over to their own taste at a speed learnt from your data.
# Others, such as "ease", "blend" and "two_stage": docs/recipes.md says which is for what, and "penchant tune
# for_you" searches better settings. "co_visitation", "vsknn" and both as "session_blend" give what
# is clicked next, learnt click by click, for news and for visitors nobody knows: docs/sessions.md.

[recipes.trending]
# What rises: the rate of events now against the window before.
recipe = "trending"

[recipes.popular]
# What most users took within a window.
recipe = "popularity"


# Filters: expressions by name, for feeds below and for ?filter=NAME and ?promotion=NAME:PERCENT of a request.
# A $parameter gets its value with the request. docs/feeds.md has the language.

[filters]
# in_stock = "INCLUDE ItemID WHERE Items.STOCK > 0"
# cheap = "INCLUDE ItemID WHERE Items.PRICE <= $most"


# Feeds: what is served, at /v1/feeds/NAME/USER and by "penchant recommend USER --feed NAME".

[feeds.home]
# Places in turn, repeated to the size asked: 3 for the user, 1 rising, 1 popular. An item never comes twice.
# A source is the name of a recipe; "similar:RECIPE" for items like the one asked about or like the user's
# latest; "followed" for items by those whom the user follows; "newest" for items put since the last training;
# "categories" for a bandit over the categories of items (see below).
blocks = [
  { source = "for_you", take = 3 },
  { source = "trending", take = 1 },
  { source = "popular", take = 1 },
]
# Who fills a place whose source has no more, in this order; sources not named come after.
backfill = ["for_you", "popular", "trending"]
# What must not be shown. "seen": what the user acted on, or only by some types of event, or only lately:
#   { rule = "seen", event_types = ["purchase"], again_after_days = 30 }
# "shown": what the user was shown so often within so many days and did nothing with:
#   { rule = "shown", hide_after = 5, again_after_days = 7 }
# "known": only items that have a property, such as a title to show:  { rule = "known", property = "title" }
# "sensitive": items whose property says yes, except for users with a property that does:
#   { rule = "sensitive", property = "adult", allowed_by = "of_age" }
# "seen", "shown" and the dislikes below hide near-duplicates of what they hide, when told what these are:
#   { rule = "seen", duplicates = { text = ["title"], cosine = 0.98, model = "for_you" } }
rules = [{ rule = "seen" }]
# Filters of this file that every item has to pass.
# filters = ["in_stock"]
# Shares of the places, or so many of them, at random positions, for items that pass a filter.
# promotions = [{ filter = "cheap", percent = 10 }, { filter = "in_stock", slots = 1 }]
# Events of dislike with weights: they hide the item and lower what shares a property with it, to half for a
# weight of 1, less and less over the half-life. They say nothing about what the user likes.
# negative = { events = { hide = 1.0, report = 3.0 }, lowers = ["category", "author"], half_life_days = 30.0 }
# What the user was shown is lowered by a rate each time, and comes back over the half-life.
# rotation = { rate = 0.5, half_life_hours = 2.0 }
# At most so many items with the same value of a property, in the whole feed or within so many places in a
# row; where no other item is left a cap is broken, the last one first, and the trace says so.
# caps = [{ property = "category", most = 2, within = 5 }, { property = "author", most = 3 }]
# Of items that say the same (text: equal but for case and punctuation; cosine: of a model's vectors) one.
# duplicates = { text = ["title"], cosine = 0.98, model = "for_you" }
# Places with a wish of their own: an item, a source, or an item with one of some values; "every" repeats it.
# places = [{ at = 1, item = "welcome" }, { at = 5, every = 5, property = "category", any_of = ["news"] }]
# Items unlike those above first: relevance 1 is relevance alone, 0 difference alone; by a model's vectors or
# by a property.
# diversity = { relevance = 0.7, model = "for_you" }
# The second, third ... item by one author counts ((1 - floor) decay^n + floor) times; property: the author.
# author_decay = { decay = 0.5, floor = 0.25 }
# As how many events one of a type counts in what the user likes: 0 to 20, 1 for types not named.
# event_weights = { purchase = 3, view = 0 }
# A recipe that orders the candidates of every source by its own score; without this line each source's order.
# ranker = "for_you"
# The recipe whose order fills up when all sources are dry; without this line items in the order of their ids.
fallback = "popular"
# New items are shown now and then until enough is known of them: weight 0 to 1 says how much, on average half
# of it as a share of the places, never over a fifth of a feed. An item is new for so many days, counted back
# from the newest interaction, and until it was shown enough times or is clearly poor. Each place then carries
# the exact probability that it had. Without this line nothing is explored.
# explore = { weight = 0.3, age_cut_off_days = 30.0, enough = 200 }
# The source "categories" needs no recipe: a bandit learns from what is served and done which categories pay,
# for everybody, for a persona and for each user, and each place carries its exact probability. policy:
# "thompson", or "published" (by the categories' weights, a fifth of the places at random). Within a category
# it gives the popular or the newest, whichever predicted better; "prefer" overrides. See docs/personas.md.
# categories = { column = "category", policy = "thompson", prefer = { news = "recency" }, half_life = "7d" }
# The most items one request may ask for.
# k_max = 500
# After this much time no further source is asked, and the feed is filled from what is there.
# budget_ms = 250.0
# What was served goes into the event log, with positions, sources and model version.
# log_served = true

[feeds.similar]
# Items like one item: /v1/feeds/similar/USER?item=ITEM.
blocks = [{ source = "similar:for_you", take = 1 }]
rules = []
fallback = "popular"


# Actions to ask users to take, such as joining a club: /v1/actions/next/USER or `penchant actions USER`. From
# files (`penchant import --actions FILE --action-interactions FILE`) and events the recipe learns how likely
# a user takes each within so many days of being asked. columns: those of users to learn from (all that can
# serve without it), as at most so many numbers; half_life_days: older answers count less.
#   [recipes.next]
#   recipe = "next_best_action"
#   period_days = 14.0
#   columns = ["plan", "age"]
#   most_features = 64
#   half_life_days = 90.0
# order: the likeliest first, or by "value", the probability times the action's own property value (1 without
# it). filters: of this file, by ActionID. explore: how new actions are explored, as in a feed.
#   [actions.next]
#   recipe = "next"
#   order = "probability"
#   filters = ["clubs"]
#   explore = { weight = 0.3, age_cut_off_days = 30.0, enough = 200 }
#   k_max = 100
#   log_served = true


[serving]
# Memory: of how many users a process keeps the events since the last training, and how many of each.
# live_users = 100000
# live_events = 500
# How often a process looks for other processes' events and for newly trained models.
# refresh_seconds = 0.25
# How long a cache may keep a persona's feed.
# persona_seconds = 300.0
# How many served feeds may wait to be written to the log.
# queue = 10000
# The most items that a question for similar items may ask for.
# k_max = 500


[server]
# host = "127.0.0.1"
# port = 8080
# workers = 1
# The API key is read from this environment variable or file; it never stands here. Without a key the server
# listens on the loopback address only.
# api_key_env = "PENCHANT_API_KEY"
# api_key_file = "/run/secrets/penchant"
# Limits of one request: kilobytes of body, events or items in a batch, excluded items.
# max_body_kb = 1024
# max_batch = 1000
# max_exclude = 1000
# The most seeds of an audience that is asked for over HTTP; ten times as many may be excluded by one list.
# max_seeds = 100000


[evaluation]
# time: learn before one moment, test after it. last: leave each user's last out. user: learn without the
# tested users, tell the model a part of what they did.
# protocol = "time"
# k = 10


[personas]
# `penchant personas` describes what a trained "lookalike" serves; k, space, factors, columns and rank are for
# groups found anew, the others for both.
# How many groups; without this line the elbow of the curve of spread against number chooses.
# k = 6
# What groups share: "attributes", or "behaviour" (tastes; who has no history is placed by attributes), and
# the dimensions of taste.
# space = "attributes"
# factors = 32
# The item column by whose values behaviour is summed, the window, and how many categories are told apart.
# category = "category"
# days = 30.0
# most_categories = 30
# What an event counts for; types that are not named count 1, and 0 leaves a type out.
# event_weights = { share = 3.0, view = 0.0 }
# Types of events that count by their value, such as seconds of dwell.
# by_value = ["dwell"]
# The attributes that make groups; without this line all that the types of the users' columns allow.
# how: "levels" (one feature a value), "buckets" (ranges of a number), "number", "labels" (of a list; with
# "within" they are taken relative to others of the same level of that column).
# columns = [{ column = "age", how = "levels" }, { column = "likes", how = "labels", within = "price" }]
# Dimensions kept before clustering.
# rank = 6


[graph]
# What recipes that read the users' columns, such as "lookalike", are told of who follows whom. Without this
# line nothing. Others: "followers", "following", "mutual", "clustering", "pagerank", "betweenness".
# columns = ["community"]
# How communities are found: "leiden" or "louvain", with more resolution more and smaller ones; "spectral" or
# "kmeans" (of the numbers above: finds who is alike, not who belongs together) into k. Without this line as
# many as Leiden finds.
# method = "leiden"
# resolution = 1.0
# k = 20
# Communities of fewer users are none.
# smallest = 10
# Betweenness is estimated from so many users.
# pivots = 256


[text]
# The items' columns that are read as text, for recipes that can use it: "ials" then knows new items by what
# is written of them. Without this line no text is read.
# columns = ["title", "description"]
# What makes numbers of it: "tfidf", which needs nothing more, or with `pip install 'penchant[text]'` the name
# "universal-sentence-encoder" or the folder of a model2vec model. What an encoder gave is kept in the folder
# "text" of the workspace.
# encoder = "tfidf"
# Numbers an item for tfidf; encoders have their own.
# dimensions = 256


[personalize]
# Clients of Amazon Personalize (boto3 with endpoint_url) sign with one of these keys; the secret is read from
# the environment. groups are the dataset groups that the key may use; without it all. Without any key,
# unsigned clients are served too, as long as only this machine can reach the server.
# keys = [{ access_key_id = "AKIDEXAMPLE", secret_env = "PENCHANT_SECRET", groups = ["shop"] }]
# Where s3://NAME/... of an import is on this machine.
# buckets = { my-bucket = "/mnt/my-bucket" }
"""
