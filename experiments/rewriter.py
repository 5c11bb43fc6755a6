"""Rewords questions lightly, so that a contamination check can be tried on them.

Names are swapped for other names, in each sentence two words or more for synonyms, or
for other words of their class where no synonym is known, and the sentences change
places. Numbers stay as they are written. It was written, and its seed fixed in
`configs/bench/contamination.py`, before anything was tuned against it.

The result asks nearly the same thing, not always in good English: a word without a
synonym becomes some other word ("eggs", "lamps"), and a question may come first.
"""

from collections.abc import Mapping, Sequence, Set
import random
import re

_LEAST = 2  # words of a sentence that are replaced

# As people and towns are called in word problems; whoever is swapped becomes another.
_NAMES = (
    "Ada Adam Alba Amir Anna Arlo Beth Bruno Carl Cara Chloe Clara Dario Dora Edgar "
    "Elena Elsa Emil Enzo Erik Fatima Felix Fiona Gina Greta Hanna Hugo Ines Ingrid "
    "Iris Ivan Jana Jonas Karim Karin Klaus Lara Leon Lena Lukas Magda Marek Mina "
    "Nadia Nils Nora Olaf Olga Oscar Otto Paula Petra Quentin Rafael Rita Rosa Ruben "
    "Samir Selma Silas Stella Sven Tara Theo Tilda Uma Valery Vera Viktor Wanda Yara "
    "Yusuf Zelda Zoe"
).split()
# Capitalised, but nobody's name.
_NO_NAMES = frozenset(
    "a after all although an and another as assuming at before besides both by "
    "calculate can due determine during each every find five for four from given half "
    "he her here his how however i if in initially it its last later lastly let many "
    "mr mrs ms dr next no not now of on once one only out over she since six so some "
    "suppose ten that the their then there these they this those three to today "
    "together tomorrow two unfortunately until was we what when where which while who "
    "why will with yesterday you your monday tuesday wednesday thursday friday "
    "saturday sunday january february march april may june july august september "
    "october november december christmas easter halloween english american french am "
    "pm usa us tv dvd cd".split()
)
_NUMBER_WORDS = frozenset(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen "
    "fourteen fifteen sixteen seventeen eighteen nineteen twenty thirty forty fifty "
    "sixty seventy eighty ninety hundred thousand million billion dozen half third "
    "quarter fourth fifth sixth seventh eighth ninth tenth halves thirds quarters "
    "fourths fifths once twice thrice double triple single first second".split()
)

# word:its synonyms in everyday use, each in the same form.
_SYNONYMS: Mapping[str, Sequence[str]] = {
    word: tuple(others.split(","))
    for word, _, others in (
        entry.partition(":")
        for entry in """
a:some able:free about:around,roughly across:throughout actually:really added:put,joined
additional:further,added adds:puts,joins after:following afternoon:daytime
again:anew,afresh agreed:consented all:everything,entirely allowance:stipend
already:previously also:too,likewise altogether:overall among:amongst
amount:quantity,sum amounts:quantities another:a-different answer:reply apartment:flat
apartments:flats apples:pears around:about arrive:come arrived:came arrives:comes
article:essay ate:devoured,consumed attend:visit attended:visited average:mean away:off
baby:infant bag:sack bags:sacks bake:cook baked:cooked bakery:cake-shop bakes:cooks
ball:sphere balls:spheres basket:hamper baskets:hampers because:since become:turn
been:stayed before:ahead-of began:started begin:start beginning:start begins:starts
being:staying besides:beyond better:finer between:amid big:large,huge bigger:larger
biggest:largest bike:bicycle bikes:bicycles bill:invoice bills:invoices book:volume
books:volumes both:the-pair bottle:flask bottles:flasks bought:purchased,acquired
bowl:dish bowls:dishes box:carton,crate boxes:cartons,crates boy:lad boys:lads
break:pause bring:carry brings:carries brother:sibling brothers:siblings brought:carried
build:construct building:house builds:constructs built:constructed bus:coach
buses:coaches business:company,firm but:yet,though buy:purchase,acquire
buying:purchasing,acquiring buys:purchases,acquires calculate:compute,work-out
called:named can:could candies:sweets candy:sweet,sweets car:automobile carries:hauls
carry:haul carrying:hauling cars:automobiles catch:capture catches:captures
caught:captured change:alter charge:ask charged:asked charges:asks,bills
cheap:inexpensive check:inspect child:youngster children:kids,youngsters chocolate:cocoa
choose:select chooses:selects chose:selected city:town class:course classes:courses
classmates:schoolfellows clean:wash cleaned:washed cleaning:washing clothes:garments
coach:trainer collect:gather collected:gathered collection:hoard collects:gathers
combined:together,jointly come:arrive comes:arrives company:firm,business
complete:finish,conclude completed:finished,concluded computer:laptop
contain:hold,include contained:held contains:holds,includes cook:prepare cooked:prepared
cookie:biscuit cookies:biscuits cost:price costs:sets-back could:might count:tally
counted:tallied couple:pair create:make created:made crowd:throng cup:mug cups:mugs
currently:now,presently customer:client customers:clients cut:sliced dad:father,papa
daily:each-day daughter:girl day:date days:dates decide:choose decided:chose
decides:chooses deliver:hand-over delivered:handed-over desk:table did:would
difference:gap different:distinct dinner:supper discount:rebate,reduction
distance:stretch divide:share divided:shared do:should doctor:physician does:would,might
dog:hound dogs:hounds dollar:buck dollars:bucks donate:give donated:gave donates:gives
down:downward drank:swallowed drink:sip,swallow drinks:sips,swallows drive:ride,travel
drives:rides,travels driving:riding,traveling drove:rode,traveled during:throughout
each:every,any earlier:before early:soon earn:make,receive earned:made,received
earning:making earns:makes,receives eat:consume,devour eaten:consumed,devoured
eating:consuming eats:consumes,devours eggs:ova either:any empty:vacant end:close,finish
ended:closed ends:closes enough:sufficient entire:whole,complete equal:identical
equally:evenly evening:nightfall evenly:equally every:each,any everyone:everybody
exactly:precisely exam:test expensive:costly extra:spare,additional fall:drop
family:household farm:ranch farmer:grower fast:quick faster:quicker father:dad,papa
favorite:preferred feed:nourish feeds:nourishes feet:ft female:woman few:several
fewer:less field:meadow fill:load,stock filled:loaded,stocked fills:loads,stocks
final:last,closing find:determine,discover finds:discovers finish:complete,end
finished:completed,ended finishes:completes,ends fish:trout fix:repair flour:meal
flower:blossom flowers:blossoms,blooms follows:goes-after food:meals,groceries
for:toward found:discovered,spotted free:gratis fresh:new friend:pal,buddy
friends:pals,buddies from:out-of fruit:produce full:complete game:match games:matches
garden:yard gave:handed,passed get:receive,obtain gets:receives,obtains
getting:receiving,obtaining gift:present gifts:presents girl:lass girls:lasses
give:hand,pass given:handed,passed gives:hands,passes giving:handing,passing go:head
goal:target goals:targets goes:heads going:heading good:fine got:received,obtained
grade:mark grades:marks group:band,bunch groups:bands,bunches grow:raise grows:raises
guest:visitor guests:visitors guys:men had:owned,held happy:glad has:owns,holds hat:cap
hats:caps have:own,hold having:owning,holding he:the-man,this-man heavy:weighty
height:tallness help:aid helps:aids her:that-lady's here:at-this-place high:tall
higher:taller him:the-man hire:employ hired:employed his:that-man's hold:keep,carry
holds:keeps,carries holiday:festival home:house,residence homework:assignments hour:h
hours:hrs house:home,residence houses:homes,residences how:in-which-way however:still
husband:spouse if:supposing,provided in:inside,within including:counting
increase:rise,growth increased:rose,grew increases:rises,grows initially:originally
into:in invited:asked is:gets it:this item:article items:articles its:that-thing's
jar:pot jars:pots job:occupation jobs:occupations jog:run jogs:runs join:enter
just:only,merely keep:retain keeps:retains kept:retained kid:child kids:children
kilometers:km know:realize lake:pond large:big,huge larger:bigger largest:biggest
last:final,previous later:afterwards lay:produce lays:produces learn:study least:minimum
leave:depart leaves:departs leaving:departing left:remaining length:extent less:smaller
letter:note letters:notes like:enjoy likes:enjoys little:small live:reside lived:resided
lives:resides living:residing local:nearby long:lengthy longer:lengthier look:gaze
lose:mislay loses:mislays lost:mislaid lot:heap lots:heaps lunch:noon-meal
made:produced,created make:produce,create makes:produces,creates
making:producing,creating male:man man:gentleman many:numerous market:bazaar match:game
maximum:most meal:repast meals:repasts mean:stand-for meters:m middle:center mile:mi
miles:mi milk:cream minute:min minutes:mins mom:mother,mama money:cash month:mo
months:mos more:further,additional morning:forenoon most:the-majority mother:mom,mama
move:shift moved:shifted moves:shifts movie:film movies:films much:great must:has-to
name:title near:close-to need:require needed:required needs:requires
neighbor:next-door-resident neighborhood:district new:fresh,recent next:following,coming
night:evening normal:usual normally:usually not:never notebook:notepad
notebooks:notepads now:currently,presently number:count,quantity numbers:counts,figures
obtain:get of:among off:away often:frequently oil:fuel old:aged older:elder on:upon
only:just,merely open:unlock order:request ordered:requested orders:requests
other:remaining,further others:rest our:everyone's out:outside over:above,beyond
own:possess owned:possessed owner:proprietor owns:possesses pack:packet,bundle
package:parcel packages:parcels packs:packets,bundles paid:spent,forked-out pair:couple
pairs:couples pants:trousers paper:parchment parents:folks,guardians park:green
part:portion,share parts:portions,shares party:feast passengers:riders
pay:spend,fork-out paying:spending payment:fee pays:spends pen:ballpoint pens:ballpoints
people:persons,folks per:each,every perform:carry-out performance:show person:individual
phone:mobile pick:choose,pluck picked:chose,plucked picks:chooses,plucks picture:photo
pictures:photos pie:tart piece:bit,portion pieces:bits,portions pies:tarts place:spot
placed:put places:spots plan:intend plans:intends plant:sow planted:sowed plants:sows
plate:dish plates:dishes play:perform played:performed plays:performs plus:and
pool:basin pound:lb pounds:lbs predicted:forecast prepare:make prepared:made
present:gift presents:gifts previous:prior,earlier price:cost,fee prices:costs,fees
prize:award produce:make produced:made produces:makes profit:gain,earnings project:task
provide:supply provided:supplied provides:supplies puppies:whelps purchase:buy,acquire
purchased:bought,acquired purchases:buys,acquires put:placed,laid puts:places,lays
quantity:amount question:query questions:queries race:contest raise:lift
ran:sprinted,jogged rate:pace,tempo read:studied reading:studying reads:studies
receive:get,obtain received:got,obtained receives:gets,obtains remain:stay
remainder:rest remained:stayed remaining:leftover,other remains:stays remove:take-away
removed:took-away rent:lease rents:leases repair:mend required:needed requires:needs
rest:remainder restaurant:diner return:come-back returned:came-back returns:comes-back
ride:drive,journey rides:drives,journeys road:street,lane room:chamber rooms:chambers
round:lap row:line rows:lines run:sprint,jog running:sprinting,jogging runs:sprints,jogs
said:stated,told salary:pay,wages sale:offer sales:deals same:identical sandwich:sub
sandwiches:subs save:put-aside saved:put-aside saves:puts-aside saving:putting-aside
saw:spotted,noticed says:states,tells school:academy score:get scored:got seat:chair
seats:chairs see:spot,notice sees:spots,notices sell:trade,vend selling:trading,vending
sells:trades,vends send:mail sends:mails sent:mailed set:kit sets:kits several:various
share:split shared:split shares:splits she:the-lady,this-lady ship:vessel ships:vessels
shirt:blouse shirts:blouses shoe:boot shoes:boots shop:store shopping:purchasing
shops:stores short:brief shorter:briefer show:display shows:displays since:as
sister:sibling sisters:siblings size:magnitude sizes:magnitudes sleep:slumber
sleeps:slumbers slice:wedge slices:wedges slow:sluggish slower:more-sluggish
small:little smaller:littler snack:bite so:thus,hence soda:lemonade sold:traded,vended
some:several son:boy song:tune songs:tunes speed:pace,velocity spend:use,lay-out
spending:using spends:uses,lays-out spent:used,laid-out stadium:arena stairs:steps
start:begin,open started:began,opened starting:beginning,opening starts:begins,opens
stay:remain stayed:remained stays:remains still:yet stock:supply stop:halt
stopped:halted stops:halts store:shop stores:shops street:road student:pupil,learner
students:pupils,learners swim:bathe swims:bathes take:grab,require taken:grabbed
takes:grabs,requires taking:grabbing tall:high taller:higher task:job tasks:jobs
teacher:instructor teachers:instructors team:squad,side teams:squads,sides tell:inform
test:exam,quiz tests:exams,quizzes than:versus that:which the:this,that
their:those-people's them:those-people then:afterwards,next these:such they:those-people
thing:object things:objects think:believe this:the,that those:such through:by-way-of
throughout:during throw:toss throws:tosses ticket:pass tickets:passes time:occasion
times:occasions tip:gratuity to:toward,unto today:this-day together:jointly,combined
took:grabbed,required total:sum,whole tour:trip town:village,city toy:plaything
toys:playthings train:rail-car travel:journey,go traveled:journeyed,went
travels:journeys,goes tree:sapling trees:saplings trip:journey,tour trips:journeys,tours
truck:lorry trucks:lorries try:attempt trying:attempting under:below until:till
up:upward use:employ,utilize used:employed,utilized uses:employs,utilizes
using:employing,utilizing usually:normally vacation:holiday value:worth
vegetables:greens very:really,quite visit:call-on visited:called-on visits:calls-on
wait:linger waited:lingered walk:stroll,hike walked:strolled,hiked
walking:strolling,hiking walks:strolls,hikes want:wish,desire wanted:wished,desired
wants:wishes,desires was:became wash:clean washed:cleaned watch:view watched:viewed
watches:views watching:viewing water:liquid we:everybody wear:don wearing:donning
wears:dons week:wk weekly:every-week weeks:wks weigh:balance-at weighed:balanced-at
weighs:balances-at weight:mass went:headed,traveled were:became what:which when:as
where:at-which-place which:that while:whereas,as who:that whole:entire,complete
wide:broad wife:spouse will:shall win:gain wins:gains with:having within:inside
without:lacking woman:lady women:ladies won:gained work:labor,toil worked:labored,toiled
worker:laborer workers:laborers working:laboring works:labors,toils worth:valued-at
would:should,might write:compose writes:composes wrote:composed yard:lawn year:yr
years:yrs you:anybody young:youthful younger:more-youthful your:anybody's
""".split()
    )
}
# For words without a synonym: (what the word ends in, others of that class).
_CLASSES = (
    ("ly", "gladly slowly calmly neatly rarely mostly quietly partly".split()),
    ("ing", "counting holding moving taking making bringing sorting".split()),
    ("ed", "counted moved sorted wrapped handled gathered carried wanted".split()),
    ("s", "lamps ropes stones boards plums spoons shelves candles pillows".split()),
    ("", "lamp rope stone board plum spoon shelf candle pillow ribbon".split()),
)

_TITLES = "".join(rf"(?<!\b{title}\.)" for title in ("Mr", "Mrs", "Ms", "Dr", "St"))
_SENTENCE_END = re.compile(
    rf"(?:(?<=[.?!])|(?<=[.?!][\"”’)])){_TITLES}(?<!\b[A-Za-z]\.)\s+"
)
# "don't" is a word, "Ann's" is a word and an s, "p.m." is none.
_LETTERS = r"[^\W\d_]"
_WORD = re.compile(
    rf"(?<!{_LETTERS}\.)\b{_LETTERS}+(?:['’](?!s\b){_LETTERS}+)*(?!\.?{_LETTERS})"
)
# What follows a name at the start of a sentence, where every word has a capital.
_AFTER_A_NAME = re.compile(r"['’]s\b|,? (?:and [A-Z]|\w+(?:s|ed)\b|had\b)")


def sentences(text: str) -> list[str]:
    """Returns the sentences of a text, which end in ".", "?" or "!" and a space."""
    return [part for part in _SENTENCE_END.split(text.strip()) if part]


def words(text: str) -> list[str]:
    """Returns the words of a text in lowercase, without numbers and signs."""
    return [word.lower() for word in _WORD.findall(text)]


def names(text: str) -> list[str]:
    """Returns the words of a text that look like names, in the order they come in.

    These are capitalised words within a sentence, apart from days, months and the
    like, and words at the start of one that "'s" or a verb follows.
    """
    found: dict[str, None] = {}
    for sentence in sentences(text):
        for match in _WORD.finditer(sentence):
            word, within = match[0], match.start() > 1  # 1: after a quotation mark
            if len(word) < 2 or not word.istitle() or word.lower() in _NO_NAMES:
                continue
            if within or _AFTER_A_NAME.match(sentence, match.end()):
                found[word] = None
    return list(found)


def reword(question: str, *, seed: int, share: float) -> list[tuple[str, str]]:
    """Returns each sentence, as it was and as it became, in the new order.

    Args:
      question: Some sentences.
      seed: Together with the question it decides everything.
      share: Of the words of a sentence, at most so many are replaced, names apart,
        but never fewer than two.
    """
    rng = random.Random(f"{seed}:{question}")  # a string: the same in every process
    known = names(question)
    free = [name for name in _NAMES if name not in known]
    swapped = dict(zip(known, rng.sample(free, len(known)), strict=True))
    pairs = [
        (sentence, _reword(sentence, swapped, rng, share))
        for sentence in sentences(question)
    ]
    order = list(range(len(pairs)))
    while len(order) > 1 and order == sorted(order):
        rng.shuffle(order)
    return [pairs[i] for i in order]


def rewrite(question: str, *, seed: int, share: float) -> str:
    """Returns a question in other words; see `reword`."""
    rewritten = reword(question, seed=seed, share=share)
    return " ".join(sentence for _, sentence in rewritten)


def _reword(
    sentence: str, swapped: Mapping[str, str], rng: random.Random, share: float
) -> str:
    matches = list(_WORD.finditer(sentence))
    replaceable = [
        i
        for i, match in enumerate(matches)
        if match[0] not in swapped
        and match[0].lower() not in _NUMBER_WORDS
        and sentence[match.start() - 1 : match.start()] not in ("'", "’")  # the s
    ]
    # Those with a synonym come first, otherwise in any order.
    rng.shuffle(replaceable)
    replaceable.sort(key=lambda i: matches[i][0].lower() not in _SYNONYMS)
    most = max(_LEAST, int(share * len(matches)))
    chosen = frozenset(replaceable[: rng.randint(_LEAST, most)])

    used = {word.lower() for word in _WORD.findall(sentence)}
    pieces, end = [], 0
    for i, match in enumerate(matches):
        word = swapped.get(match[0], match[0])
        if i in chosen:
            word = _replacement(word, used, rng)
        pieces += [sentence[end : match.start()], word]
        end = match.end()
    return "".join([*pieces, sentence[end:]])


def _replacement(word: str, used: Set[str], rng: random.Random) -> str:
    """Returns another word of the same class and capitalisation, none of `used`."""
    plain = word.lower()
    of_its_class = next(others for end, others in _CLASSES if plain.endswith(end))
    for others in (_SYNONYMS.get(plain, ()), of_its_class):
        fresh = [o for o in others if used.isdisjoint(o.split("-"))]
        if fresh:
            other = rng.choice(fresh).replace("-", " ")
            return other[0].upper() + other[1:] if word[0].isupper() else other
    raise ValueError(f"every replacement of {word!r} stands in its sentence already")
