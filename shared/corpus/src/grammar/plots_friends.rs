//! Plots of feelings and friends: fear, loneliness, promises, learning, birthdays, illness, a new baby.

pub(super) const RULES: &str = r#"
# Someone is afraid of something, and learns not to be.
fear.bind = {=o scary*}{=c color}
scary.child = the deep water / swim / in the pool / put one foot in|the big slide / slide down / on the slide / climb one step|the dark / sleep without a lamp / in the dark room / open one eye|the big dog next door / pet the dog / near the dog / hold out a hand|thunder / listen to the thunder / by the window / count to ten|the tall swing / swing up high / on the swing / swing a little|the dentist / open wide / in the big chair / open up a little|the old cellar / go down the stairs / on the stairs / take one step|spiders / look at a spider / near the web / look for a moment|high places / climb the ladder / on the ladder / climb one step|the first day of school / go into the class / at the door / say one word|the stage / sing for everyone / on the stage / sing one line|horses / ride the pony / near the pony / touch its nose|loud noises / beat the big drum / near the drum / tap it once|the haircut / sit still / in the high chair / cut one curl|the high bridge / cross the bridge / on the bridge / take one step
scary.animal = the deep water / swim / in the water / put one foot in|the dark / go out at night / in the dark / open one eye|thunder / listen to the thunder / in the rain / count to ten|high places / climb up the tree / on a low branch / climb a little|the tall hill / roll down the hill / at the top / take one step|the old cave / go into the cave / in the cave / take one step|loud noises / dance to the drum / near the drum / listen for a moment|the long bridge / cross the bridge / on the bridge / take one step|the cold snow / play in the snow / in the snow / touch it once|the wind / run in the wind / in the wind / stand still|the big rock / jump off the rock / on the rock / jump a little|strangers / say hello to the others / near the others / say one word
fear.wish = be brave|{o.1} like <friend>|{o.1} without fear|stop being <scared> of {o}|be as brave as a <brave_animal>
fear.start = was asked to {o.1} with <friend>|wanted to {o.1} with <friend>, but {he} was afraid of {o}|watched how <friend> could {o.1}|went to {p} with <friend> but thought only of {o}|had to {o.1} with <friend> and was <scared>
fear.body =
  <fear_is> <fear_shake>~<fear_say> <fear_help> <fear_step>~<fear_try> <fear_done> <very_happy>
  <fear_is> <fear_laugh> <very_sad>~<ask_g> <fear_g> <fear_step>~<fear_try> <fear_done> <thank_g>
  <fear_is> <fear_say> <fear_help> <fear_first>~<fear_step> <fear_try> <fear_done>~<thank:h,f>
fear_is =
  {h} was <so> afraid of {o}.
  More than anything, {h} was <scared> of {o}.
  Everyone else liked to {o.1}, but {h} was afraid of {o}.
  Just to think of {o} made {h} feel <scared>.
fear_shake =
  {his} (knees|legs|lips) began to shake, and {his} heart went (boom, boom|thump, thump|fast).
  {his} tummy felt funny, and {he} wanted to <fear_away>.
  {h} closed {his} eyes and wanted to <fear_away>.
fear_away = run away|hide <hide_where>|go home|cry|be somewhere else
fear_say =
  "I can't do it, {f.call}," {h} said <sadly>. "I am afraid of {o}."
  "I am too <scared>," {h} said <sadly>.
  "What if (something bad happens|it goes wrong|I get hurt|I fall)?" {h} asked <sadly>.
  "You go first, {f.call}," {h} said <sadly>.
fear_laugh =
  Some of the others laughed and said, "It is only {o}."
  "Are you afraid of {o}?" someone said and laughed.
  {h} did not tell anyone about it, because {he} was afraid they would laugh.
fear_help =
  {f} did not (laugh|tease {h}|make fun of {h}|run ahead). "I was afraid of {o} too, {h.call}," {f.he} said <kindly:f>.
  "I will be right next to you, {h.call}," {f} said <kindly:f>.
  "Everyone is afraid of something," said {f} <kindly:f>. "I am afraid of <fear_other>."
  "Let us do it together," {f} said <kindly:f>. "Just {o.3}, and then we will see."
fear_other = mice|bees|wasps|ghosts|frogs|crabs|snakes|crows|owls|clowns|bats|wolves|geese|sharks
fear_g =
  "Being brave means to try when you are <scared>," said {g} <kindly:g>.
  "I was afraid of {o} when I was small," {g} said <kindly:g>. "I began with one little step."
  "You do not have to {o.1} today," said {g} <kindly:g>. "First just {o.3}."
fear_first =
  {f} showed {h} how to do it and {f.joy}.
  {f} went first <gladly:f>. "It is <fear_fun>, {h.call}!" {f.he} <cried> <cry_how:f>.
fear_fun = fun|easy|great|not so bad|really nice|like flying
fear_step =
  So {h} took a deep breath and (nodded|stood up|smiled a little|closed {his} eyes). {he} did just as {f} said, to {o.3} and no more.
  "First I will {o.3}," said {h} <for_brave>, and {he} did.
  (Slowly|Bit by bit|Step by step|With shaky legs|At last), {h} began. {he} was {o.2}, and nothing bad happened.
  {h} counted to <number> and thought of <dream>. Then {he} was {o.2}.
for_brave = at last|to {himself}|in a small voice|and stood up tall|with a nod
fear_try =
  Then {he} tried to {o.1}. It was not so <bad_hard> after all.
  And then, all at once, {h} was brave enough to {o.1}.
  {he} tried once, and {he} tried twice. The third time, {he} was not <scared> any more.
  "(One, two, three|Now|Go|You can do it), {h.call}!" <cried> {f}, and {h} did it.
bad_hard = bad|hard|scary|terrible|strange
fear_done =
  "I did it, I am not afraid of {o} any more!" {h} <cried> <cry_how>.
  "Look at me, {g.call}!" {h} <cried> <cry_how>. "I can {o.1}!"
  {h} laughed <gladly>. {he} wanted to {o.1} again and again.
  {f} (clapped|cheered|was <happy>) for {h}. "You are as brave as a <brave_animal>," {f.he} said.
fear.moral = was not afraid of {o}|liked to {o.1} with {f}|helped others who were <scared>|was brave when it mattered|told {f} when {he} was <scared>
fear.lesson = you can be scared and brave at the same time|a friend makes you brave|one small step is a good start|trying is the brave thing to do|most things are not so scary up close

# Someone is left out, and is asked to join.
alone.bind = {=o game*}{=c color}
game.child = tag|soccer|hide and seek|ball|pirates|marbles|hopscotch|school|knights and dragons|house|basketball|follow the leader|leapfrog|catch|cards|chess|jump rope|space travel|musical chairs|zoo|shop
game.animal = tag|hide and seek|leapfrog|catch|follow the leader|races|ball|pirates|jump the log|kings and queens|hunters|splash and run|treasure hunt
game.toy = tag|hide and seek|marching band|tea party|pirates|knights and dragons|follow the leader|circus|catch|shop|school
alone.wish = have a friend|play {o} with the others|be a part of the group|find someone to play with|make a new friend
alone.start = saw that the others were playing {o} {p.1}|was new {p.1} and had no friends yet|watched the others play {o} {p.1}|came to {p}, where {he} did not know anyone|sat alone {p.1} while the others played {o}
alone.body =
  <alone_shy> <alone_no> <very_sad>~<alone_friend> <alone_talk> <alone_idea>~<alone_play> <alone_others> <very_happy>
  <alone_shy> <very_sad>~<alone_g> <alone_try>~<alone_friend> <alone_talk> <alone_play> <together_fun>
  <alone_shy> <alone_no>~<alone_sit> <alone_friend> <alone_talk>~<alone_idea> <alone_play> <thank:h,f>
alone_shy =
  {h} was too (shy|quiet|scared|timid) to ask if {he} could play {o} too.
  {h} wanted to play {o} too, but nobody looked at {him}.
  Everyone had a friend to play {o} with, but {h} had no one.
  {h} felt as small as (an ant|a pea|a crumb|a bug|a button) next to all the others.
alone_no =
  "(Can|May) I play {o} with you?" {h} asked <sadly>. "No, you are too (small|slow|new|young)," they said.
  "We have enough players for {o}," said one of them and turned away.
  "You do not know how to play {o}," someone said and laughed.
alone_sit =
  {h} sat down <where_sit> and drew in the sand with a stick.
  {h} <went> away and sat <where_sit>.
  {h} sat <where_sit> and watched a <animal_friend>.
alone_friend =
  {f} saw {h} and came over. "Why are you (alone|all alone|so <sad>|here all by yourself)?" {f.he} asked <kindly:f>.
  Then {f} sat down next to {h}. "My name is {f}," {f.he} said <kindly:f>. "(What is your name|What is yours|Who are you|Do you want to play)?"
  One of them was called {f}. {f.he} left the game and <went> over to {h}.
  Close by sat {f}, who was alone too. "Hello," said {f} <kindly:f>.
alone_talk =
  "I am {h.call}, and I do not have any friends here," {h} said <sadly>.
  "Nobody wants to play {o} with me," said {h} <sadly>.
  They talked about <treat>, <flower>, and <zoo_animal> jokes, and soon {h} smiled.
  "Do you like to <hobby*>?" {f} asked <kindly:f>. "Yes, (very much|I love it|every day|of course)," said {h} <gladly>.
alone_idea =
  "I will teach you to play {o}," said {f} <kindly:f>.
  "Come with me, {h.call}," said {f} <kindly:f>. ^{f.he} gave {him} a {c} (hat|ribbon|ball|flag|scarf).
  "If {h.call} can't play, I will not play {o} either," {f} told the others.
  {h} had an idea and showed {f} a new way to play {o}.
alone_play =
  They played {o}, and {h} was <good_at>.
  {h} and {f} played {o} for <wait_time> and laughed <pair_manner>.
  At first {h} (made mistakes|was slow|was shy|forgot the rules), but {f} only (smiled|laughed <kindly:f>|nodded). Soon {he} was <good_at>.
good_at = very good at it|better than anyone|fast and clever|full of good ideas|not shy any more
alone_others =
  The others came to look. "Can we play {o} with you too?" they asked.
  "We are sorry, {h.call}," said the others. ^Then they all played {o} together.
  Soon everyone wanted to be on the team of {h} and {f}.
alone_g =
  {g} saw it. "Go and say hello to someone who is alone too, {h.call}," {g.he} said <kindly:g>.
  "A smile is the way to make a friend," said {g} <kindly:g>.
  "Somebody here is waiting for a friend just like you," {g} said <kindly:g>.
alone_try =
  {h} took a deep breath and looked around <carefully>.
  {h} wiped {his} nose and smiled <kindly>.
  So {h} stood up and <went> over to a <color> bench.
alone.moral = was never alone {p.1}|asked everyone who was alone to play {o}|played {o} with {f} every <weekday>|always smiled at someone new|had <number> new friends
alone.lesson = one kind word can make a friend|nobody should be left out|there is room for one more in every game|it is good to say hello|a friend can be very near

# A promise, nearly forgotten.
promise.bind = {=o promised}{=c color}
promised = feed {f}'s hens / the bowl was empty / fed every hen / feed your hens|feed {f}'s cat / the bowl was empty / filled the bowl to the top / feed your cat|water {f}'s flowers / the leaves hung down / watered every flower / water your flowers|meet {f} at the old oak / {f} was waiting in the cold / ran all the way / meet you at the old oak|help {f} with the garden / the weeds were so high / pulled out every weed / help you with the garden|bring {f} some soup / the pot was empty / brought it in a big pot / bring you some soup|wake {f} before sunrise / the sun was high / ran to the house / wake you before sunrise|teach {f} to sing / {f} sat there alone / sang the song ten times / teach you to sing|carry {f}'s letters / the letters were all there / carried every letter / carry your letters|watch {f}'s little sister / the baby was crying / rocked the baby to sleep / watch your little sister|bring back {f}'s book / the book was still at home / brought it back in a bag / bring back your book|clean {f}'s boat / the boat was muddy / scrubbed it clean / clean your boat|pick apples for {f} / the basket was empty / picked a full basket / pick apples for you|mend {f}'s fence / the fence was still broken / fixed every board / mend your fence|make a card for {f} / the paper was blank / drew a lovely picture / make a card for you|walk {f}'s puppy / the puppy was crying at the door / walked the puppy three times / walk your puppy|paint {f}'s gate / the gate was still gray / painted it twice / paint your gate
promise.wish = be a good friend to <friend>|help <friend>|keep a promise to <friend>|show <friend> that {he} was big enough
promise.start = made a promise to <friend>|gave <friend> a promise|met <friend> {p.1} and made a promise|promised something to <friend>
promise.body =
  <promise_say> <promise_trust>~<promise_forget> <promise_remember> <promise_bad>~<promise_do> <promise_sorry> <promise_end>
  <promise_say> <promise_trust> <promise_tempt>~<promise_g> <promise_choice>~<promise_do> <promise_end> <very_happy>
promise_say =
  "I will {o.3}," {h} said <gladly>. "I (promise|promise you|give you my word), {f.call}."
  {h} had promised to {o} on <weekday>.
  "You can count on me, {f.call}," said {h} <gladly>. {he} was going to {o}.
promise_trust =
  "Thank you, {h.call}," said {f} <gladly:f>. "I know that (you will not forget|I can trust you|you always help|you keep your word)."
  "A promise is a promise," {f} said <kindly:f>.
  {f} smiled and gave {h} some <food>.
promise_forget =
  But then {h} {p.4} and forgot about it.
  But on that day it was <weather_good>, and {h} {p.4}. {he} did not think of {f} at all.
  The next day {h} began to <hobby*>, and {he} forgot all about {f}.
promise_remember =
  When {he} saw a {c} <animal_friend>, {he} remembered. "Oh no, (my promise|I forgot {f}|I promised|what about {f})!" {h} <cried> <cry_how>.
  After <meal>, {g} asked, "What did you promise {f}, {h.call}?"
  In the evening {h} thought of {f} and jumped up. "I promised!" {he} <cried> <cry_how>.
promise_bad =
  {h} <went> there <quickly>, but {o.1}. {he} felt <so> <sad>.
  When {he} got there, {o.1}. {h} felt <sad>, and {his} heart was <simile_bad>.
  It was late, and {o.1}. "I broke my promise," {h} said <sadly>.
promise_tempt =
  But on that <day_part>, (the others|some friends|the neighbors) came by. "Come and <hobby*> with us, {h.call}," they said.
  But then it was <weather_bad>, and {h} wanted to stay in bed.
  The day came, and {h} was <tired>. {his} bed was <so> warm.
promise_g =
  {h} asked {g} what to do. "Friends keep their promises," {g} said <kindly:g>.
  "What will {f} (think|do|say|feel) if you (do not come|forget|stay here)?" {g} asked <kindly:g>.
  {h} thought of how happy {f} had been, and {he} knew what to do.
promise_choice =
  So {h} put on a {c} (coat|hat|scarf|sweater|jacket) and <went> out.
  "I can (rest|sleep|play) later," {h} said and <went> to {f}.
  {h} got up at once, even though it was <weather_bad> outside.
promise_do =
  {h} {o.2}. It took <work_time>.
  {he} worked <hard>. {he} {o.2}.
  "I will do it (right now|at once|now|before <meal>)," {he} said. ^{h} {o.2} and did not stop for <wait_time>.
promise_sorry =
  "I am <so> sorry that I am late, {f.call}," {h} said <sadly>.
  {h} told {f} the truth <sadly>. "I forgot, and I am sorry," {he} said <sadly>.
promise_end =
  "You kept your promise, {h.call}," {f} said <gladly:f> and gave {h} a <hug_kind> hug.
  {f} was <so> <happy>. "I knew that I could trust you, {h.call}," {f.he} said.
  "Next time I will tie a {c} string around my (finger|wrist|paw|toe), so that I remember," said {h}, and {f} laughed.
  {f} saw it and {f.joy}. Then they sat down and ate <treat>.
promise.moral = always kept {his} promises|never forgot a promise to {f}|thought <carefully> before {he} made a promise|helped {f} every <weekday>|was a friend whom {f} could trust
promise.lesson = a promise is a promise|good friends keep their word|it is good to do what you say|you should think before you promise|it is never too late to make things right

# A new skill.
skill.bind = {=o skill*}{=c color}
skill.child = ride a bike / fell off|swim / swallowed some water|whistle / only blew air|tie {his} shoes / got a knot|read / mixed up the letters|skate / sat down hard|play the piano / hit the wrong keys|jump rope / got stuck in the rope|write {his} name / wrote it backward|juggle / dropped every ball|climb a rope / slid back down|do a cartwheel / landed on {his} back|catch a ball / missed it|count to one hundred / forgot <number>|fold a paper bird / made a paper ball|ski / rolled in the snow|play the violin / made an awful squeak|row a boat / went around in circles|stand on {his} hands / tipped over|snap {his} fingers / made no sound at all|sew a button / poked {his} thumb|paddle a canoe / splashed everyone
skill.animal = swim / swallowed some water|climb a tree / slid back down|jump over the brook / landed in the water|sing / made a funny squeak|dance / stepped on {his} own feet|catch a ball / missed it|find {h.food} / found only a stone|whistle / only blew air|run fast / tripped over a root|stand on one leg / tipped over|dig a tunnel / dug in the wrong place|hide / sneezed very loudly|skate on the ice / sat down hard|howl at the moon / only coughed
skill.wish = learn to {o}|{o} like <friend>|{o} all by {himself}|show {g} that {he} could {o}
skill.start = wanted to learn to {o}|saw how <friend> could {o}|watched <friend> {o} {p.1}|asked {g} to teach {him} to {o}|decided to learn to {o}
skill.body =
  <skill_try> <skill_more> <very_sad>~<skill_friend> <skill_tip> <skill_practice>~<skill_can> <very_happy>
  <skill_try> <skill_more>~<skill_quit> <skill_g> <skill_practice>~<skill_can> <thank_g>
  <skill_try> <skill_laugh> <skill_more>~<skill_friend> <skill_tip> <skill_practice>~<skill_can> <thank:h,f>
skill_try =
  {h} tried <skill_where>, but {he} {o.1}.
  The first time, {h} {o.1}.
  "It looks (easy|like fun|simple|easy to {o})," said {h} <gladly>. ^{he} tried it and {o.1}.
  {he} tried on <weekday>, and {he} {o.1}.
skill_where = in the (morning|yard|garden|sun)|by {himself}|when nobody was looking|with {g}|{p.1}
skill_more =
  {he} tried <number> times, and each time {he} {o.1}.
  Again {he} {o.1}. It was <so> hard to {o}.
  {he} tried <hard>, <no_luck>.
  The next day it was no better, and {he} {o.1}.
skill_laugh =
  Someone laughed, and {his} face turned as red as (a tomato|a beet|a cherry|a rose|an apple).
  {h} looked around. {he} hoped that nobody had seen it.
skill_quit =
  "I will never learn to {o}," {h} said <sadly>.
  {h} felt <cross> and kicked a (stone|can|leaf|stick|ball).
  "It is too hard to {o}, {g.call}," said {h} <sadly>.
skill_friend =
  <friend> had seen it all. "It took me <learn_time> to learn to {o}, {h.call}," {f.he} said <kindly:f>.
  "Do you want me to (show you|help you|teach you|practice with you), {h.call}?" {f} asked <kindly:f>.
  {f} came over and said <kindly:f>, "I could not {o} at first."
learn_time = a whole year|a month|two months|a long time|many weeks|all summer|all winter
skill_tip =
  "You have to go slowly, {h.call}," {f} said <kindly:f>. "Look at me, and (breathe|count|smile|try|copy me)."
  "(Do not|Don't) think about it too much," said {f} <kindly:f>. "Think of <dream>."
  {f} showed {him} <show_how>, and {h} watched <carefully>.
  "First do it in your head, {h.call}, and then do it for real," said {f} <kindly:f>.
show_how = how to begin|how to hold still|each step|a little trick|the trick again and again|where to look
skill_g =
  "You could not walk when you were a baby, and now you can run," {g} said <kindly:g>.
  "Try a little every day, {h.call}," said {g} <kindly:g>.
  "Do you know how often I <failed> before I could {o}?" {g} asked <kindly:g>. "More than <number> times."
failed = failed|fell|made mistakes|gave up|cried
skill_practice =
  So {h} practiced <hard>.
  {h} practiced before <meal> and after <meal>.
  Every <day_part>, {h} practiced <where_practice>, and {he} got better and better.
  {h} tried it <carefully> this time. {he} did not give up.
where_practice = {p.1}|by the (gate|barn|wall|tree|window)|with {f}|with {g}|for an hour
skill_can =
  Then, on <weekday>, it worked. {h} could {o}!
  One <weather_good> <day_part>, {he} did it. "Look, {g.call}, I can {o}!" {h} <cried> <cry_how>.
  "I can (do it|really do it|{o}), {f.call}!" {h} <cried> <cry_how>. ^{he} could {o} at last.
  All at once it was not hard any more to {o}. {g} and {f} clapped <pair_clap>.
pair_clap = for {him}|loudly|and cheered|and laughed|with joy
skill.moral = liked to {o} every <day_part>|taught others to {o}|knew that {he} could learn anything|was not afraid to try new things|went to {o} with {f} every <weekday>
skill.lesson = you learn by trying|nobody can do everything at first|you should never give up|practice makes you better|it is all right to fail and try again

# A surprise.
surprise.bind = {=o gift}{=c color}
gift = hat|drum|kite|cake|scarf|book|lamp|boat|necklace|blanket|painting|chair|puppet|crown|bell|basket|pillow|puzzle|music box|bird house|card|flute|wagon|cape|snow globe|clock|garland|lantern|ball|sweater|quilt|sculpture|diary|hammock|bookmark|mobile|rattle|vest|apron|tie|bracelet|brooch|mosaic|globe|desk|stool|teacup|mailbox|banner|poster|photo album|pinwheel|sled|top hat|pouch|robot|rug|trophy|windmill
surprise.wish = make <friend> happy|have a party for <friend>|give <friend> the best {o} in the world|plan a big surprise
surprise.start = knew that it was almost <friend>'s birthday|wanted to make a {o} for <friend>|planned a surprise for <friend>|thought of a surprise for <friend>|had a secret
surprise.body =
  <surprise_plan> <surprise_make> <surprise_ask>~<surprise_sad> <surprise_wait>~<surprise_now> <surprise_gift> <thank:f,h>
  <surprise_plan> <surprise_make> <surprise_trouble>~<surprise_g> <surprise_wait>~<surprise_now> <surprise_gift> <very_happy:f>
surprise_plan =
  {h} wanted to give {f} a {c} {o} and some <treat>.
  "We will have <treat> and a {c} {o} for {f}," {h} told {g}.
  {h} whispered the plan to {g}. There would be a {c} {o}, <flower>, and <food>.
  {f}'s birthday was on <weekday>, and {h} wanted to give {f.him} a {c} {o}.
surprise_make =
  {h} worked on the {o} <hard>. {he} used <gift_from> and <gift_from>.
  {he} made the {o} out of <gift_from>. {g} helped {him} a little.
  {h} <looked> for <gift_from> and <gift_from> to make the {o}.
gift_from = <color> paper|soft wool|old boxes|some string|<color> buttons|dry leaves|<flower>|wood and glue|<color> cloth|tape|yarn|beads|feathers|ribbons|straw|cardboard|clay
surprise_ask =
  "What are you doing, {h.call}?" asked {f} <kindly:f>. "Nothing at all," said {h} and hid the {o} <hide_where>.
  When {f} came by, {h} hid the {o} <hide_where>. "I can't play today, {f.call}," {he} said.
  {f} heard (whispers|giggles|steps|secrets) everywhere. But when {f.he} came near, nobody said a word.
surprise_sad =
  {f} was <so> <sad>. "Maybe {h.call} does not like me any more," {f.he} thought <sadly:f>.
  "Everyone has forgotten me," {f} said <sadly:f>.
  {f} sat <where_sit> and felt <sad>.
surprise_trouble =
  But then the {o} fell into the (mud|soup|water|paint|flour)! {h} was <so> <sad>.
  But {h} was not happy with the {o}. It looked <gift_bad>.
  Then {h} sat on the {o} by mistake. "Oh no, it is (flat|broken|ruined|squashed)!" {he} <cried> <cry_how>.
gift_bad = like a potato|too small|too big|a little strange|like a squashed pumpkin|crooked|very messy
surprise_g =
  "It does not have to be perfect, {h.call}," said {g} <kindly:g>. "It (comes from your heart|is made with love|is just right|will make {f} smile)."
  {g} helped {h} to mend the {o} with <gift_from>. Now it was even <better>.
  "Let us make a new {o} with <gift_from>," {g} said <kindly:g>. ^They worked until <until>.
surprise_wait =
  On the big day, everyone hid <hide_where> and waited for {f}.
  {h} put <color> (balloons|paper stars|lights|ribbons|flags) everywhere. Then they all hid <hide_where>.
  "Shh, here comes {f}," {h} whispered (softly|happily|with a giggle|to {g}|with a smile|and smiled|to everyone). They hid <hide_where>.
surprise_now =
  "(Surprise, surprise|Surprise|Hooray for you|Here we are), {f.call}!" they all <cried>.
  {f} opened the (door|gate|curtain|box), and they all jumped up. "Happy (birthday|birthday to you), (dear|) {f.call}!" <cried> {h} <cry_how>.
  Then the lights went on, and {f} saw {h} with <treat>. {f.his} mouth fell open.
  They all began to (sing|cheer|clap|dance) for {f}, and {h} was the (loudest|first|happiest|proudest).
surprise_gift =
  {h} gave {f} the {c} {o}. "I made it just for you, {f.call}," {he} said <gladly>.
  "Is this {c} {o} for me?" {f} asked <gladly:f>. {h} nodded and {h.joy}.
  {f} put the {o} next to {f.his} heart. "It is the best {o} in the world," {f.he} said <gladly:f>.
  They ate <treat> and <food>, and {f} held the {c} {o} all day.
surprise.moral = loved to plan surprises|made a gift for {f} every year|could keep a secret|helped {g} with every party|gave {f} something every (spring|birthday|winter)
surprise.lesson = giving is as nice as getting|a gift from the heart is the best gift|a good surprise is worth the wait|friends do not forget you|small things can make someone very happy

# A friend is sick.
sick.bind = {=i soup}{=o illness}{=c color}
illness = a cold / {his} nose was red|a fever / {his} head was hot|a bad cough / {his} throat hurt|a sore throat / {his} voice was gone|a tummy ache / {his} tummy hurt|a toothache / {his} cheek was big|an earache / {his} ear hurt|a broken leg / {his} leg hurt|the flu / {his} whole body hurt|red spots / {his} skin itched|a headache / {his} head hurt|the hiccups / {his} tummy jumped|a sprained foot / {his} foot hurt|the sniffles / {his} eyes were wet
sick.wish = play with <friend>|visit <friend>|see <friend> again|make <friend> feel better|<hobby*> with <friend>
sick.start = went to see <friend>|waited for <friend> {p.1}, but <friend> did not come|heard that <friend> was sick|wanted to play with <friend>, but <friend> was in bed|knocked on <friend>'s door
sick.body =
  <sick_how:f> <sick_feel> <sick_think>~<sick_soup> <sick_bring> <sick_cheer>~<sick_better> <thank:f,h>
  <sick_how:f> <sick_feel> <ask_g>~<sick_advice> <sick_soup> <sick_bring>~<sick_cheer> <sick_better> <thank:f,h>
  <sick_how:f> <sick_think> <sick_bring>~<sick_cheer> <sick_doctor>~<sick_better> <sick_turn>
sick_how =
  {s} had {o}, and {o.1}.
  "I have {o}," {s} said <sadly>. {he} could not get up.
  {s} was in bed with {o}. {he} looked (pale|weak|tired|small|sad), and {o.1}.
  {s} had {o}. "I can't play today, {h.call}," {he} said <sadly>.
sick_feel =
  {h} felt <so> <sad> for {f}.
  {h} was <so> worried about {f} and wanted to (help|stay|do something).
  "You poor thing, I will stay with you," {h} said <kindly>.
sick_think =
  "What can I do to make {f} (feel better|smile|happy|well again)?" {h} thought <for_h>.
  {h} thought <long>. Then {he} had an idea.
  "I know what {f} likes," said {h}. "I will bring {f.him} some {i} soup."
  {h} <went> home and <looked> for something nice.
sick_advice =
  "A sick friend needs rest, warm soup, and a smile," {g} said <kindly:g>.
  "Let us cook some {i} soup for {f}," said {g} <kindly:g>.
  "Something {c} always makes me feel better," said {g} <kindly:g>.
sick_soup =
  {h} and {g} made {i} soup in a big pot.
  {h} cut the vegetables <carefully>, and {g} stirred the {i} soup.
  {h} picked <flower> for {f} and drew a picture of a <zoo_animal>.
  {h} made a {c} card with a <zoo_animal> on it.
sick_bring =
  {h} <carried> it all to {f} in a {c} basket.
  {h} brought {f} a {c} blanket and a cup of (tea|honey milk|warm milk|lemon tea|berry juice).
  "Look what I have for you, {f.call}," said {h} <gladly> and put <flower> next to the bed.
carried = carried|brought|took|pulled|pushed
sick_cheer =
  {h} told {f} a story about <dream>, and {f} smiled.
  {h} sang a <silly> song about a <zoo_animal> with a <zoo_animal> on its back. {f} (laughed|smiled|giggled) and (coughed|sneezed|forgot {o}|felt <better_feel>).
  {h} put on a <silly> show with two socks, and {f} giggled.
  {h} sat by the bed for <wait_time> and read to {f} from a book.
silly = silly|funny|soft|happy|crazy|little
sick_doctor =
  The doctor came and gave {f} some <medicine>. "You will be well by <weekday>," he said.
  {g} felt {f}'s head and gave {f.him} some <medicine>.
medicine = bitter medicine|sweet syrup|herb tea|pink drops|white pills|warm oil|<color> syrup
sick_better =
  Two days later, {f} was well again, and they <fun_pair> together.
  On <weekday>, {f} jumped out of bed. "I am (well|healthy|all better|up) again, {h.call}!" {f.he} <cried> <cry_how:f>.
  (Little by little|Day by day|Bit by bit|After the {i} soup) {f} felt better. After <plant_days>, {f.he} could <hobby*> again.
  Soon {f} felt better and ate <food> and <treat>.
sick_turn =
  Then it was {h} who got {o}. This time it was {f} who came with {i} soup.
  The next week {h} had to sneeze. "Now I will take care of you, {h.call}," said {f} <kindly:f>.
  They ate <treat> to celebrate, and {h} {h.joy}.
sick.moral = visited every friend who was sick|made {i} soup for anyone with {o}|took good care of {f}|brought {f} <flower> every <weekday>|knew how to cheer up a friend
sick.lesson = a visit can be the best medicine|good friends take care of each other|a smile helps when you are sick|being kind makes others feel better|a small gift can cheer you up

# A baby comes, and who was the smallest is so no more.
baby.bind = {=c color}{=o baby_who}
baby_who = brother / him / he / his|sister / her / she / her|cousin / him / he / his|cousin / her / she / her
baby.wish = have {g} all to {himself}|be the smallest again|play with {g} all <day_part>|be a big (kid|helper|child)
baby.start = got a new baby {o}|met {his} new baby {o}|had to be quiet because of the new baby {o}|saw {his} new baby {o} for the first time
baby.body =
  <baby_loud> <baby_g> <baby_feel>~<baby_talk> <baby_help>~<baby_smile> <baby_now>
  <baby_loud> <baby_feel> <baby_do>~<baby_talk> <baby_cry> <baby_help>~<baby_smile> <baby_now>
baby_loud =
  The baby was <baby_look> and <baby_look>, and cried <baby_when>.
  The baby could not (talk|walk|play|sing|run) and cried <baby_when>.
  "Is that all {o.2} (can do|does|knows|ever does)?" asked {h} when the baby cried <baby_when>.
baby_look = tiny|red|loud|round|bald|soft|wrinkled|small|pink|sleepy
baby_when = all night|all day|very loudly|for milk|again and again|every hour|at (breakfast|lunch|dinner|bedtime)
baby_g =
  {g} held the baby <carefully:g> and had no time to <baby_game>.
  "Not now, {h.call}," said {g}. "I have to (feed|change|wash|rock|dress) the baby."
  Everyone came to see the baby and brought <color> <baby_gift>. Nobody (looked at|talked to|played with|had time for) {h}.
baby_gift = socks|hats|blankets|rattles|bibs|bears|blocks|shoes|bottles
baby_game = read a book|play <baby_play>|go to {p}|sing a song|bake a cake|draw a picture
baby_play = tag|cards|ball|pirates|hide and seek|chess
baby_feel =
  {h} felt <cross> and <sad>.
  "Nobody loves me any more," {h} said <sadly>.
  {h} felt <simile_bad> and hid <hide_where>.
  {h} was <cross> and wished that the baby would go away.
baby_do =
  {he} made a lot of noise with a {c} (drum|pot|horn|whistle|spoon).
  {he} packed a {c} bag and said, "I am going to live with {f}."
  {he} told {f} about it. "You can have the baby for <number> cookies," {he} said.
baby_talk =
  {g} sat down with {h}. "I have enough love for both of you, {h.call}," {g.he} said <kindly:g>.
  "You were just as small and <baby_look> once, {h.call}," {g} said <kindly:g>.
  "Do you know what (a|our|this|the) (little|new|tiny|) baby needs most?" {g} asked <kindly:g>. "A big <kind> {h.noun} like you."
baby_cry =
  (Then|Suddenly|Later|At night|In the evening) the baby began to (cry|scream|wail). {g} tried <treat_baby> and <treat_baby>, but it did not help.
  That <day_part>, the baby cried and cried, and nobody knew why.
treat_baby = warm milk|a song|a rattle|a soft blanket|a walk|a funny face|a bath
baby_help =
  {h} made a <silly> face and sang about a <zoo_animal>.
  {h} gave the baby a {c} <baby_toy>.
  {h} held the tiny hand and told a story about <dream>.
  {h} danced around with a {c} <baby_toy> on {his} head.
baby_toy = bear|sock|ball|rattle|hat|spoon|blanket|duck|bunny
baby_smile =
  The baby (stopped|was quiet|grew quiet|held still) and looked at {h} with (big|round|wet|blue|dark) eyes. Then {o.2} (smiled|laughed|giggled|waved) (for the first time|at {him}|with joy|like the sun)!
  The baby held on to {his} (finger|nose|ear|hair|sleeve) and laughed <baby_laugh>.
  "Look, {g.call}, {o.2} likes me!" {h} <cried> <cry_how>.
baby_laugh = out loud|with no teeth|for the first time|and kicked with both feet|like a little bell
baby_now =
  {h} was <so> <proud>. "I will teach {o.1} to <hobby*>," {he} said <gladly>.
  "I am a big <kind> {h.noun} now," {h} said <gladly>, and {g} gave {him} a <hug_kind> hug.
  {g} was <so> <happy>. "The baby is lucky to have you, {h.call}," {g.he} said <kindly:g>.
  {h} gave the baby a (soft|big|gentle|wet|little) (kiss|hug). "I think I will keep {o.1}," {he} said, and {g} laughed <gladly:g>.
baby.moral = sang to the baby every <day_part>|helped {g} with the baby|loved {his} baby {o}|shared {his} {c} toys with the baby|was <proud> to be big
baby.lesson = there is enough love for everyone|it is nice to be big|a baby needs a good friend|love gets bigger when you share it|babies need time to grow
"#;
